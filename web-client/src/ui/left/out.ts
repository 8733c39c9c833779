/** What is drawn once one is out, or on the way back: needed by nobody who comes in. */
export { LeftScreen } from './left-screen';
export { ReturningScreen } from './returning-screen';
