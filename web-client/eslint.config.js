import js from '@eslint/js';
import hooks from 'eslint-plugin-react-hooks';
import globals from 'globals';
import ts from 'typescript-eslint';

export default ts.config(
  { ignores: ['dist/', 'node_modules/'] },
  js.configs.recommended,
  ...ts.configs.strict,
  ...ts.configs.stylistic,
  {
    files: ['src/**/*.{ts,tsx}', 'dev/**/*.{ts,tsx}', 'test/**/*.{ts,tsx}'],
    languageOptions: { globals: globals.browser },
    plugins: { 'react-hooks': hooks },
    rules: {
      ...hooks.configs.recommended.rules,
      'no-console': 'error',
      eqeqeq: ['error', 'always'],
      // The one door through which a chat message could become markup.
      'no-restricted-syntax': [
        'error',
        { selector: 'JSXAttribute[name.name="dangerouslySetInnerHTML"]', message: 'Text is rendered as text nodes only.' },
        { selector: 'AssignmentExpression[left.property.name="innerHTML"]', message: 'Text is rendered as text nodes only.' },
      ],
    },
  },
  { files: ['build/**/*.{ts,mjs}'], languageOptions: { globals: globals.node } },
  {
    // Layers: the call and the layout know nothing of React, so that they are tested without it.
    files: ['src/call/**/*.ts', 'src/layout/**/*.ts', 'src/i18n/*.ts'],
    rules: {
      'no-restricted-imports': ['error', { patterns: ['react', 'react-dom', '**/ui/*'] }],
    },
  },
  {
    // Only the call knows which engine is under it.
    files: ['src/ui/**/*.{ts,tsx}', 'src/layout/**/*.ts'],
    rules: {
      'no-restricted-imports': ['error', { patterns: ['livekit-client'] }],
    },
  },
);
