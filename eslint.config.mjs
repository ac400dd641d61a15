// Rules for the OHIF panel (`make lint`, where Node is there). Nothing is imported here, so that eslint alone is enough.

const browser = [
  'AbortController', 'Blob', 'CompressionStream', 'DecompressionStream', 'FormData', 'Node', 'Response', 'TextDecoder',
  'TextEncoder', 'URL', 'URLSearchParams', 'document', 'fetch', 'localStorage', 'sessionStorage', 'setTimeout', 'window',
]; // prettier-ignore
const node = ['Buffer', 'process'];
const readonly = names => Object.fromEntries(names.map(name => [name, 'readonly']));

// Strings must never become markup: what is shown may come from a user or a server.
const markup = ['innerHTML', 'outerHTML', 'insertAdjacentHTML', 'write', 'writeln'].map(property => ({
  property,
  message: 'Text stays text: use dom.js.',
}));

export default [
  {
    files: ['monailabel_app/ohif/**/*.js', 'tests/ohif/**/*.mjs'],
    languageOptions: { ecmaVersion: 2024, sourceType: 'module', globals: readonly([...browser, ...node]) },
    rules: {
      'no-undef': 'error',
      'no-unused-vars': 'error',
      'no-unused-private-class-members': 'error',
      'no-restricted-properties': ['error', ...markup],
      'no-eval': 'error',
      'no-implied-eval': 'error',
      'no-new-func': 'error',
      'no-var': 'error',
      'prefer-const': 'error',
      'no-shadow': 'error',
      'no-dupe-keys': 'error',
      'no-unreachable': 'error',
      'no-fallthrough': 'error',
      eqeqeq: 'error',
      curly: ['error', 'multi-line'],
    },
  },
];
