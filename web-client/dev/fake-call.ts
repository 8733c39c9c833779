import { Notices } from '../src/call/notices';
import { Store } from '../src/call/store';
import type { Attachable, CallView, ChatMessage, ChatSnapshot, ConnectionSnapshot, DeviceCause, LeaveReason, PeopleSnapshot, Person, Phase, Picture, RefusedCause, Role, Sending } from '../src/call/types';

const NAMES = ['Élodie Marchand', 'Jonas Weber', 'Amara Okafor', 'Lin Zhao', 'Mateo Rossi', 'Sofia Lindqvist', 'Karim Benali', 'Priya Raman', 'Tom de Vries', 'Bartholomew Featherstonehaugh-Cholmondeley', 'Noor', 'Hana Suzuki'];
const SAID = [
  'Good morning! Can everybody hear me?',
  'Loud and clear.',
  'Agenda: https://wiki.example.org/agenda/2026-11 (second section first, please).',
  '<img src=x onerror=alert(1)> stays what it is: text.',
  'I will share the numbers in a minute. They changed a little since Thursday because the last two stations reported late, so please do not quote the old ones.',
  'Thanks 👍',
];

/** A call that never leaves the page. */
export class FakeCall implements CallView {
  readonly connection: Store<ConnectionSnapshot>;
  readonly people: Store<PeopleSnapshot>;
  readonly chat: Store<ChatSnapshot>;
  readonly sending: Store<Sending>;
  readonly notices = new Notices();

  constructor(query: URLSearchParams) {
    const count = Number(query.get('people') ?? '4');
    const cameras = Number(query.get('video') ?? String(Math.ceil(count * 0.75)));
    const list = Array.from({ length: count }, (_, index) => person(index, index < cameras, query));
    const left = query.get('left') as LeaveReason | null;
    const cause = query.get('cause') as RefusedCause | null;
    const broken = query.get('problem') as DeviceCause | null;
    this.connection = new Store<ConnectionSnapshot>({
      room: 'bkdt-wqmp-hza',
      access: query.get('access') === 'token' ? 'token' : 'link',
      token: undefined,
      phase: (query.get('phase') ?? 'connected') as Phase,
      left: left ? { reason: left, cause: cause ?? undefined, detail: query.get('detail') ?? undefined, wasIn: !query.has('detail') && !cause, alone: query.get('alone') === '1' } : undefined,
    });
    this.people = new Store<PeopleSnapshot>({ list, speakers: list.slice(1, 2).map((one) => one.identity) });
    this.chat = new Store<ChatSnapshot>({ log: Array.from({ length: Number(query.get('chat') ?? '0') }, (_, index) => message(index, list)), unread: [], draft: '' });
    this.sending = new Store<Sending>({ microphone: true, camera: cameras > 0 && query.get('starting') !== '1', share: query.get('own') === '1', microphoneBusy: false, cameraBusy: query.get('starting') === '1', shareBusy: false });
    const phase = this.connection.getSnapshot().phase;
    if (phase === 'resuming' || phase === 'reconnecting') this.notices.tell({ kind: phase });
    if (query.get('sound') === '0') this.notices.tell({ kind: 'sound' });
    if (query.get('silent') === '1') this.notices.tell({ kind: 'silent' });
    if (query.get('weak') === '1') this.notices.tell({ kind: 'weak' });
    if (broken) this.notices.tell({ kind: 'problem', problem: { device: 'camera', cause: broken } });
    if (query.get('notice') === '1') {
      this.notices.tell({ kind: 'joined', names: ['Karim Benali', 'Noor', 'Lin'] });
      this.notices.tell({ kind: 'muted-by-other' });
    }
  }

  setMicrophone(on: boolean): Promise<void> {
    return this.#send({ microphone: on });
  }

  setCamera(on: boolean): Promise<void> {
    return this.#send({ camera: on });
  }

  setShare(on: boolean): Promise<void> {
    return this.#send({ share: on });
  }

  chooseDevice(): Promise<void> {
    return Promise.resolve();
  }

  activeDevice(): string {
    return '';
  }

  microphoneTrack(): MediaStreamTrack | undefined {
    return undefined;
  }

  sendChat(text: string): Promise<void> {
    const own = this.people.getSnapshot().list[0];
    if (own) this.chat.patch({ log: [...this.chat.getSnapshot().log, { id: crypto.randomUUID(), identity: own.identity, name: own.name, isLocal: true, text, at: Date.now(), failed: false }] });
    return Promise.resolve();
  }

  setDraft(draft: string): void {
    this.chat.patch({ draft });
  }

  showChat(open: boolean): void {
    if (open) this.chat.patch({ unread: [] });
  }

  playSound(): Promise<void> {
    this.notices.end('sound');
    return Promise.resolve();
  }

  dismiss(id: number): void {
    this.notices.dismiss(id);
  }

  leave(): Promise<void> {
    this.connection.patch({ phase: 'left', left: { reason: 'left', detail: undefined, wasIn: true, alone: false } });
    return Promise.resolve();
  }

  #send(change: Partial<Sending>): Promise<void> {
    this.sending.patch(change);
    return Promise.resolve();
  }
}

function person(index: number, camera: boolean, query: URLSearchParams): Person {
  const sharer = query.get('share') === '1' && index === 1;
  return {
    identity: `p-${String(index)}`,
    name: NAMES[index % NAMES.length] ?? 'Guest',
    isLocal: index === 0,
    role: index === 0 && query.get('role') ? (query.get('role') as Role) : 'participant',
    can: { microphone: index === 0 && query.get('role') !== 'listener', camera: index === 0 && query.get('role') !== 'listener', share: index === 0 && query.get('role') !== 'listener', chat: index === 0, pin: true },
    joinedAt: index,
    muted: index % 3 === 2,
    quality: index === 3 ? 'poor' : index === 0 && query.get('weak') === '1' ? 'poor' : 'good',
    camera: camera ? picture(index, index === 0) : undefined,
    share: sharer ? slide() : undefined,
  };
}

function message(index: number, people: readonly Person[]): ChatMessage {
  const from = people[[1, 0, 1, 2, 1, 0][index % 6] ?? 0] ?? people[0];
  return {
    id: String(index),
    identity: from?.identity ?? '',
    name: from?.name ?? '',
    isLocal: from?.isLocal ?? false,
    text: SAID[index % SAID.length] ?? '',
    at: Date.now() - (12 - index) * 60_000,
    failed: index === 5,
  };
}

/** A canvas as a camera: bright, dark, busy, so that labels are tried on everything. */
export function picture(index: number, mirrored: boolean): Picture {
  return { key: `camera-${String(index)}`, media: canvasMedia(640, 360, (draw) => face(draw, index)), mirrored, paused: false };
}

function slide(): Picture {
  return {
    key: 'share',
    media: canvasMedia(1600, 900, (draw) => {
      draw.fillStyle = '#fbfaf6';
      draw.fillRect(0, 0, 1600, 900);
      draw.fillStyle = '#17324d';
      draw.font = '600 64px sans-serif';
      draw.fillText('Ridership by station, November', 100, 150);
      [420, 310, 505, 270, 380, 450, 330].forEach((height, bar) => {
        draw.fillStyle = bar === 2 ? '#c8553d' : '#588b8b';
        draw.fillRect(120 + bar * 200, 800 - height, 120, height);
      });
    }),
    mirrored: false,
    paused: false,
  };
}

function canvasMedia(width: number, height: number, paint: (draw: CanvasRenderingContext2D) => void): Attachable {
  const canvas = document.createElement('canvas');
  canvas.width = width;
  canvas.height = height;
  const draw = canvas.getContext('2d');
  const stream = canvas.captureStream(5);
  const repaint = (): void => {
    if (draw) paint(draw);
  };
  repaint();
  setInterval(repaint, 250);
  return {
    attach: (element) => {
      element.srcObject = stream;
    },
    detach: (element) => {
      element.srcObject = null;
    },
  };
}

function face(draw: CanvasRenderingContext2D, index: number): void {
  const hue = (index * 67 + 190) % 360;
  const light = [34, 82, 22, 96, 46][index % 5] ?? 40;
  const back = draw.createLinearGradient(0, 0, 640, 360);
  back.addColorStop(0, `hsl(${String(hue)} 22% ${String(light)}%)`);
  back.addColorStop(1, `hsl(${String((hue + 40) % 360)} 26% ${String(Math.max(10, light - 14))}%)`);
  draw.fillStyle = back;
  draw.fillRect(0, 0, 640, 360);
  draw.fillStyle = `hsl(${String((hue + 150) % 360)} 34% 46%)`;
  draw.beginPath();
  draw.ellipse(320, 400, 165, 165, 0, 0, 7);
  draw.fill();
  draw.fillStyle = ['#f0cdb2', '#c98f6b', '#8d5a3c', '#f4d8c4'][index % 4] ?? '#f0cdb2';
  draw.beginPath();
  draw.ellipse(320, 190, 66, 82, 0, 0, 7);
  draw.fill();
  draw.fillStyle = ['#2b201b', '#5b3a24', '#131111', '#b99b6b'][index % 4] ?? '#222222';
  draw.beginPath();
  draw.ellipse(320, 136, 74, 52, 0, Math.PI, 2 * Math.PI);
  draw.fill();
}
