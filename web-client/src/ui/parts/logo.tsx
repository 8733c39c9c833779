/** The mark: people around a table, and the keyhole of the door. */
export function Logo({ size = 28 }: { size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="9" fill="currentColor" />
      <circle cx="16" cy="16" r="9.2" fill="none" className="logo-line" strokeWidth="2.6" />
      <path className="logo-fill" d="M16 11.2a2.9 2.9 0 0 0-1.5 5.4l-.9 4.2h4.8l-.9-4.2a2.9 2.9 0 0 0-1.5-5.4z" />
    </svg>
  );
}
