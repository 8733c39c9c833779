/** Four people on a stage, one of them speaking: what the app is about, drawn with its own tokens. */
export function Illustration() {
  return (
    <svg className="home-picture" viewBox="0 0 560 440" aria-hidden="true">
      <rect className="pic-stage" x="1" y="1" width="558" height="438" rx="28" />
      <Tile x={24} y={24} tone="a" />
      <Tile x={288} y={24} tone="b" speaking />
      <Tile x={24} y={196} tone="c" muted />
      <Tile x={288} y={196} tone="d" />
      <g className="pic-bar">
        {[176, 226, 276].map((x) => (
          <circle key={x} className="pic-control" cx={x} cy={402} r="17" />
        ))}
        <rect className="pic-leave" x="310" y="385" width="62" height="34" rx="17" />
      </g>
      <g className="pic-glyph">
        <rect x="172.5" y="393" width="7" height="11" rx="3.5" />
        <path d="M169.5 401.5a6.5 6.5 0 0 0 13 0M176 408v3" />
        <rect x="217.5" y="396.5" width="11" height="11" rx="2.5" />
        <path d="m228.5 401 5-3v8l-5-3" />
        <path d="M269.5 396.5h13v9.5h-7l-3.5 3v-3h-2.500z" />
      </g>
    </svg>
  );
}

function Tile({ x, y, tone, speaking = false, muted = false }: { x: number; y: number; tone: 'a' | 'b' | 'c' | 'd'; speaking?: boolean; muted?: boolean }) {
  const clip = `pic-clip-${tone}`;
  return (
    <g transform={`translate(${x} ${y})`}>
      <clipPath id={clip}>
        <rect width="248" height="156" rx="16" />
      </clipPath>
      <g clipPath={`url(#${clip})`}>
        <rect className={`pic-back pic-back--${tone}`} width="248" height="156" />
        <path className={`pic-body pic-body--${tone}`} d="M58 172c0-42 28-64 66-64s66 22 66 64z" />
        <circle className={`pic-head--${tone}`} cx="124" cy="70" r="31" />
        <path className={`pic-hair pic-hair--${tone}`} d={HAIR[tone]} />
      </g>
      <rect className="pic-label" x="12" y="124" width={muted ? 64 : 78} height="20" rx="10" />
      <rect className="pic-name" x={muted ? 32 : 24} y="131.5" width={muted ? 34 : 54} height="5" rx="2.5" />
      {muted && <circle className="pic-muted" cx="23" cy="134" r="4" />}
      {speaking && <rect className="pic-ring" x="1.5" y="1.5" width="245" height="153" rx="15" />}
    </g>
  );
}

const HAIR = {
  a: 'M93 70c-4-28 12-42 32-42s36 15 30 42c-4-14-12-19-31-19s-27 5-31 19z',
  b: 'M90 100c-7-50 6-74 34-74s41 24 34 74c-6 4-10 3-11-4 2-22 0-36-9-43-10 7-25 8-35 6-2 10-3 24-2 37-1 7-6 8-11 4z',
  c: 'M94 62c0-22 13-33 31-33 16 0 29 11 29 31-9-2-14-7-17-13-12 8-28 8-43 15z',
  d: 'M92 74c-6-30 10-47 33-47s38 17 31 47c-2-9-4-15-8-20-16 1-33-1-46-7-5 8-8 17-10 27z',
} as const;
