// As in `src/main.ts`: what says which rule wins is loaded before all that is won.
import '../src/styles/layers.css';
import '../src/styles/fonts.css';
import '../src/styles/tokens.css';
import '../src/styles/base.css';

void import('./screens');
