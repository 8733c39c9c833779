/** Signal strength as three bars, of which some are lit. */
export function Bars({ lit, size = 18 }: { lit: 0 | 1 | 2; size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 18 18" aria-hidden="true">
      {[0, 1, 2].map((bar) => (
        <rect key={bar} x={2 + bar * 5} y={11 - bar * 4} width="3.6" height={5 + bar * 4} rx="1.4" fill="currentColor" opacity={bar < lit ? 1 : 0.34} />
      ))}
      {lit === 0 && <path d="m2.5 2.5 13 13" stroke="currentColor" strokeWidth="2" strokeLinecap="round" />}
    </svg>
  );
}
