import type { Left } from '../../call/types';
import type { Translate } from '../../i18n';

/** Why a call ended or never began, in few words. */
export function titleOf({ reason, cause }: Left, t: Translate): string {
  return reason === 'refused' ? t(`refused.${cause ?? 'other'}.title`) : t(`left.${reason}.title`);
}

/** The same, and what one can do. */
export function textOf({ reason, cause, alone }: Left, t: Translate): string {
  if (reason === 'refused') return t(`refused.${cause ?? 'other'}.text`);
  if (reason === 'left' && alone !== false) return t(alone === true ? 'left.left.alone' : 'left.left.cutOff');
  return t(`left.${reason}.text`);
}
