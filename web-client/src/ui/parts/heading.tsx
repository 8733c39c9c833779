import { useEffect, useRef, type ComponentProps } from 'react';

/**
 * The heading of a screen. It takes the focus when the screen takes another one's place: the button that was clicked is
 * gone, and whoever reads with the keyboard or a screen reader would begin anew at the top of the page.
 */
export function Heading({ focus = true, ...rest }: ComponentProps<'h1'> & { focus?: boolean }) {
  const heading = useRef<HTMLHeadingElement>(null);

  useEffect(() => {
    if (focus) heading.current?.focus({ preventScroll: true });
    // At its arrival only.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, []);

  return <h1 ref={heading} tabIndex={-1} {...rest} />;
}
