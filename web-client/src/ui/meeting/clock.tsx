import { useEffect, useState } from 'react';
import { usePrefs } from '../prefs';

/** The time of day. */
export function Clock() {
  const { language } = usePrefs();
  const [now, setNow] = useState(() => new Date());

  useEffect(() => {
    const timer = setInterval(() => setNow(new Date()), 5000);
    return () => clearInterval(timer);
  }, []);

  return <time>{now.toLocaleTimeString(language, { hour: '2-digit', minute: '2-digit', hour12: false })}</time>;
}
