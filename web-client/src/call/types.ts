/**
 * What the interface sees of a call: immutable data, and a handful of verbs.
 *
 * Nothing here names the engine, so that the interface can be driven by made-up people as well.
 */

/** Something that can be shown in or taken off a media element; the engine's tracks are such. */
export interface Attachable {
  attach(element: HTMLMediaElement): unknown;
  detach(element: HTMLMediaElement): unknown;
}

/** How well a participant's connection does, by the server's measure. */
export type Quality = 'unknown' | 'good' | 'fair' | 'poor' | 'lost';

/** A picture ready to be shown. */
export interface Picture {
  /** Changes when the picture is another one: a key for the element that shows it. */
  readonly key: string;
  readonly media: Attachable;
  /** One's own camera is shown as in a mirror. */
  readonly mirrored: boolean;
  /** The server pauses the picture for want of bandwidth. */
  readonly paused: boolean;
}

/** What somebody is in the meeting, for showing it. What follows from it says {@link Can}. */
export type Role = 'host' | 'participant' | 'listener' | 'agent';

/** What one may do to and with somebody. Of oneself: what one may send. Of others: nothing but to look at them. */
export interface Can {
  readonly microphone: boolean;
  readonly camera: boolean;
  readonly share: boolean;
  readonly chat: boolean;
  /** Make the picture large, for oneself alone. */
  readonly pin: boolean;
}

/** One participant. */
export interface Person {
  /** Unique in the meeting. */
  readonly identity: string;
  /** What is shown; never empty. */
  readonly name: string;
  readonly isLocal: boolean;
  readonly role: Role;
  readonly can: Can;
  /** Milliseconds since the epoch. */
  readonly joinedAt: number;
  /** No microphone counts as muted. */
  readonly muted: boolean;
  readonly quality: Quality;
  readonly camera: Picture | undefined;
  readonly share: Picture | undefined;
}

/** One chat message, kept only in this tab. */
export interface ChatMessage {
  readonly id: string;
  readonly identity: string;
  /** As it was when the message came: the sender may leave. */
  readonly name: string;
  readonly isLocal: boolean;
  readonly text: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** Set where an own message did not reach the server. */
  readonly failed: boolean;
}

/** Why the call ended, or never began. */
export type LeaveReason =
  | 'left'
  | 'removed'
  | 'duplicate'
  | 'ended'
  /** As `ended`, in a room of an application: a token opens it again. */
  | 'closed'
  | 'shutdown'
  | 'lost'
  /** The browser itself has no network. */
  | 'offline'
  | 'unreachable'
  | 'no-media'
  /** As `no-media`, in a Firefox on the server's own machine: its cause is known. */
  | 'loopback'
  | 'refused'
  | 'timeout'
  | 'no-rtc'
  | 'unknown';

/** Whether others can come in by the meeting's link, or need an invitation of an application. */
export type Access = 'link' | 'token';

/** Why the server lets somebody not in. */
export type RefusalCause =
  | 'start-not-allowed'
  | 'token-required'
  | 'unknown'
  | 'removed'
  | 'ended'
  | 'too-many'
  | 'full'
  | 'capacity'
  | 'restarting'
  | 'expired'
  | 'not-yet'
  | 'bad-invitation'
  | 'other';

/** Those that have no {@link LeaveReason} of their own. */
export type RefusedCause = Exclude<RefusalCause, 'removed' | 'ended'>;

/** The end of a call as told to the participant. */
export interface Left {
  readonly reason: LeaveReason;
  /** For `refused`. */
  readonly cause?: RefusedCause | undefined;
  /** The server's own sentence, where it gave one. */
  readonly detail: string | undefined;
  /** False where the meeting was never entered. */
  readonly wasIn: boolean;
  /** Whether nobody else was in the meeting when it was left; `undefined` where that is not known. */
  readonly alone?: boolean | undefined;
}

/** Where the call stands. `resuming` keeps the media; `reconnecting` has lost it. */
export type Phase = 'idle' | 'connecting' | 'connected' | 'resuming' | 'reconnecting' | 'left';

/** Why a device did not work. */
export type DeviceCause = 'browser-denied' | 'system-denied' | 'in-use' | 'missing' | 'insecure' | 'unknown';

/** A device that did not work, and why. */
export interface DeviceProblem {
  readonly device: 'microphone' | 'camera' | 'screen';
  readonly cause: DeviceCause;
}

/** Something there is to say: it happened, or it holds. */
export type Matter =
  | { readonly kind: 'reconnecting' | 'resuming' | 'sound' | 'silent' | 'weak' | 'muted-by-other' | 'microphone-ended' | 'camera-ended' | 'share-ended' }
  | { readonly kind: 'problem'; readonly problem: DeviceProblem }
  | { readonly kind: 'message'; readonly message: ChatMessage }
  /** Names in order. */
  | { readonly kind: 'joined' | 'left'; readonly names: readonly string[] };

/** A matter that is being said. */
export type Notice = Matter & {
  /** Another one each time it is said. */
  readonly id: number;
  /** `top`: concerns oneself. `corner`: news. */
  readonly place: 'top' | 'corner';
};

/** What the local participant sends. `busy` while a device starts or stops. */
export interface Sending {
  readonly microphone: boolean;
  readonly camera: boolean;
  readonly share: boolean;
  readonly microphoneBusy: boolean;
  readonly cameraBusy: boolean;
  readonly shareBusy: boolean;
}

/** A value that can be read and followed; made for `useSyncExternalStore`. */
export interface Watched<T> {
  readonly getSnapshot: () => T;
  readonly subscribe: (listener: () => void) => () => void;
}

/** How the call stands with the server. */
export interface ConnectionSnapshot {
  readonly phase: Phase;
  /** The name of the room one is in, as the server says it; empty before. */
  readonly room: string;
  readonly access: Access;
  /** The newest token of this call: the server renews it, and a room one is moved to has another one. */
  readonly token: string | undefined;
  readonly left: Left | undefined;
}

/** Who is there, and who is heard. */
export interface PeopleSnapshot {
  /** The local participant first, then by time of joining. Empty before the meeting is entered. Who has not changed is the same object as before. */
  readonly list: readonly Person[];
  /** Identities, loudest first. Whoever is muted does not speak, whatever stands here. */
  readonly speakers: readonly string[];
}

/** What was written. */
export interface ChatSnapshot {
  readonly log: readonly ChatMessage[];
  /** What others wrote since the chat was last open. */
  readonly unread: readonly ChatMessage[];
  /** What is written and not sent. */
  readonly draft: string;
}

/** The verbs of a call. */
export interface CallControls {
  setMicrophone(on: boolean): Promise<void>;
  setCamera(on: boolean): Promise<void>;
  setShare(on: boolean): Promise<void>;
  /** Picks another device; an empty id is the system's default. */
  chooseDevice(kind: MediaDeviceKind, deviceId: string): Promise<void>;
  /** The id in use, or an empty string. */
  activeDevice(kind: MediaDeviceKind): string;
  /** The own microphone's track, for a level meter. */
  microphoneTrack(): MediaStreamTrack | undefined;
  sendChat(text: string): Promise<void>;
  /** Keeps what is written until it is sent, whatever is open meanwhile. */
  setDraft(text: string): void;
  /** Tells whether the chat is open: what comes meanwhile is read. */
  showChat(open: boolean): void;
  /** Must be called from a click: until then the browser may hold back the sound. */
  playSound(): Promise<void>;
  /** Somebody has read this notice. */
  dismiss(id: number): void;
  leave(): Promise<void>;
}

/** A call as the interface sees it. A store for each matter: who speaks does not concern the chat. */
export interface CallView extends CallControls {
  readonly connection: Watched<ConnectionSnapshot>;
  readonly people: Watched<PeopleSnapshot>;
  readonly chat: Watched<ChatSnapshot>;
  readonly sending: Watched<Sending>;
  /** Most urgent first. */
  readonly notices: Watched<readonly Notice[]>;
}
