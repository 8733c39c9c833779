import { useEffect, useRef, useState, type DOMAttributes, type PointerEvent, type RefObject } from 'react';
import { moved, toggled, WHOLE, zoomAt, type Point, type Zoom } from '../../layout/zoom';

/** A closer look at a picture: double tap, two fingers, or the wheel with Ctrl, as a touchpad sends it. Moved by one finger once it is close. */
export function useZoom(element: RefObject<HTMLElement | null>): [Zoom, DOMAttributes<HTMLElement>] {
  const [zoom, setZoom] = useState(WHOLE);
  const fingers = useRef(new Map<number, Point>());

  const place = ({ clientX, clientY }: { clientX: number; clientY: number }): Point => {
    const { left = 0, top = 0 } = element.current?.getBoundingClientRect() ?? {};
    return { x: clientX - left, y: clientY - top };
  };
  const size = () => ({ width: element.current?.clientWidth ?? 0, height: element.current?.clientHeight ?? 0 });

  useEffect(() => {
    const box = element.current;
    if (!box) return;
    const wheel = (event: WheelEvent): void => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      const { left, top } = box.getBoundingClientRect();
      setZoom((now) => zoomAt(now, Math.exp(-event.deltaY / 200), { x: event.clientX - left, y: event.clientY - top }, { width: box.clientWidth, height: box.clientHeight }));
    };
    // React listens passively, and then the browser would enlarge the page.
    box.addEventListener('wheel', wheel, { passive: false });
    return () => box.removeEventListener('wheel', wheel);
  }, [element]);

  const lift = ({ pointerId }: PointerEvent): void => void fingers.current.delete(pointerId);
  return [
    zoom,
    {
      onDoubleClick: (event) => {
        // Two quick clicks on a button are two clicks on a button.
        if (!(event.target instanceof Element && event.target.closest('button'))) setZoom((now) => toggled(now, place(event), size()));
      },
      onPointerDown: (event) => void fingers.current.set(event.pointerId, place(event)),
      onPointerUp: lift,
      onPointerCancel: lift,
      onPointerLeave: lift,
      onPointerMove: (event) => {
        const was = fingers.current.get(event.pointerId);
        if (!was) return;
        const now = place(event);
        const [other] = [...fingers.current].filter(([id]) => id !== event.pointerId).map(([, point]) => point);
        fingers.current.set(event.pointerId, now);
        if (other) {
          const apart = (point: Point): number => Math.max(1, Math.hypot(point.x - other.x, point.y - other.y));
          setZoom((before) => zoomAt(before, apart(now) / apart(was), { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 }, size()));
        } else {
          setZoom((before) => moved(before, now.x - was.x, now.y - was.y, size()));
        }
      },
    },
  ];
}
