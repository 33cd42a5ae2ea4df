// What languages are called in Markdown, and which of the vendored modes reads them: name -> [file, what it exports].

const MODES = {
  bash: ["shell", "shell"], c: ["clike", "c"], clojure: ["clojure", "clojure"], cmake: ["cmake", "cmake"], cpp: ["clike", "cpp"],
  crystal: ["crystal", "crystal"], csharp: ["clike", "csharp"], css: ["css", "css"], d: ["d", "d"], dart: ["clike", "dart"],
  diff: ["diff", "diff"], dockerfile: ["dockerfile", "dockerFile"], elm: ["elm", "elm"], erlang: ["erlang", "erlang"],
  fortran: ["fortran", "fortran"], fsharp: ["mllike", "fSharp"], glsl: ["clike", "shader"], go: ["go", "go"],
  groovy: ["groovy", "groovy"], haskell: ["haskell", "haskell"], html: ["", "html"], http: ["http", "http"],
  ini: ["properties", "properties"], java: ["clike", "java"], javascript: ["javascript", "javascript"], json: ["javascript", "json"],
  julia: ["julia", "julia"], kotlin: ["clike", "kotlin"], latex: ["stex", "stex"], less: ["css", "less"],
  lisp: ["commonlisp", "commonLisp"], lua: ["lua", "lua"], mysql: ["sql", "mySQL"], matlab: ["octave", "octave"],
  nginx: ["nginx", "nginx"], objectivec: ["clike", "objectiveC"], ocaml: ["mllike", "oCaml"], pascal: ["pascal", "pascal"],
  perl: ["perl", "perl"], php: ["", "php"], postgresql: ["sql", "pgSQL"], powershell: ["powershell", "powerShell"],
  protobuf: ["protobuf", "protobuf"], python: ["python", "python"], cython: ["python", "cython"], r: ["r", "r"], ruby: ["ruby", "ruby"],
  rust: ["rust", "rust"], sass: ["sass", "sass"], scala: ["clike", "scala"], scheme: ["scheme", "scheme"], scss: ["css", "sCSS"],
  sql: ["sql", "standardSQL"], sqlite: ["sql", "sqlite"], sml: ["mllike", "sml"], swift: ["swift", "swift"], tcl: ["tcl", "tcl"],
  toml: ["toml", "toml"], typescript: ["javascript", "typescript"], vb: ["vb", "vb"], verilog: ["verilog", "verilog"],
  vhdl: ["vhdl", "vhdl"], wasm: ["wast", "wast"], xml: ["xml", "xml"], yaml: ["yaml", "yaml"],
};

const ALIASES = {
  bash: "sh shell zsh ksh fish console terminal shell-session shellsession shellscript", c: "h", clojure: "clj cljs edn", cpp: "c++ cc cxx hpp h++ cuda ino arduino",
  csharp: "c# cs", diff: "patch", dockerfile: "docker containerfile", elm: "", erlang: "erl", fortran: "f90 f95 f03", fsharp: "f# fs",
  glsl: "hlsl shader", go: "golang", groovy: "gradle", haskell: "hs", html: "htm xhtml vue svelte astro handlebars hbs", ini: "properties conf cfg dotenv env editorconfig",
  javascript: "js jsx mjs cjs node", json: "json5 jsonc jsonl ndjson", julia: "jl", kotlin: "kt kts", latex: "tex", lisp: "common-lisp elisp emacs-lisp",
  matlab: "octave", objectivec: "objc objective-c", ocaml: "ml", pascal: "delphi", perl: "pl", postgresql: "postgres pgsql psql plpgsql",
  powershell: "ps ps1 pwsh", protobuf: "proto proto3", python: "py python3 py3 pyi ipython pycon", r: "rscript", ruby: "rb", rust: "rs",
  scheme: "racket rkt", typescript: "ts tsx mts cts", vb: "vbnet vb.net visualbasic", verilog: "v sv systemverilog",
  wasm: "wat wast", xml: "svg rss xsl xslt plist", yaml: "yml",
};
const NAMES = new Map(Object.keys(MODES).map((name) => [name, name]));
for (const [name, others] of Object.entries(ALIASES)) for (const other of others.split(" ")) NAMES.set(other, name);

/** [file in vendor/modes or "" for ours, export] of what a fence calls its language; null where nothing is known of it. */
export function modeOf(language) {
  return MODES[NAMES.get(language.toLowerCase())] ?? null;
}
