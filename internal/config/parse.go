package config

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"
)

const (
	maxFile  = 4 << 20 // bytes of a configuration file
	maxDepth = 64      // levels of nesting that the YAML reader follows; the deepest key of ours is on level 5
)

// Load reads a file and every reference in it. Both results are never nil: the configuration is what could be read,
// with defaults for the rest, and is not to be used while [Mistakes.Err] is not nil. A file that cannot be read, or
// that others can write, is a mistake without a line.
func Load(file string) (*Config, *Mistakes) {
	data, err := readChecked(file, maxFile, public)
	if err != nil {
		c, wrong := blank(file)
		wrong.Add("", inWords(err), mending(err))
		return c, wrong
	}
	return Parse(file, data)
}

// Parse is [Load] for the content of a file that was read already. file gives the name for messages, and its directory
// is where relative references are looked for.
func Parse(file string, data []byte) (*Config, *Mistakes) {
	c, wrong := blank(file)
	if !checkBytes(wrong, data) {
		return c, wrong
	}
	root, ok := tree(wrong, data)
	if !ok || root == nil {
		return c, wrong
	}
	dir, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		wrong.Add("", "the working directory is gone, so relative references lead nowhere", "give the absolute path of the file")
		return c, wrong
	}
	d := &decoder{doc: c.doc, wrong: wrong, dir: dir}
	d.doc.at[""] = position{root.Line, root.Column}
	if !empty(root) {
		d.mapping(root, "", c)
	}
	return c, wrong
}

func blank(file string) (*Config, *Mistakes) {
	c := Default()
	c.doc = &document{file: file, at: map[string]position{}}
	return c, &Mistakes{doc: c.doc}
}

// checkBytes refuses what is no text: the YAML reader would name no line for it.
func checkBytes(wrong *Mistakes, data []byte) bool {
	if len(data) > maxFile {
		wrong.Add("", "the file is larger than "+FormatSize(maxFile), "")
		return false
	}
	line, column, good := 1, 1, true
	for i := 0; i < len(data); column++ {
		r, n := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			wrong.at(position{line, column}, "", fmt.Sprintf("byte 0x%02x is not UTF-8", data[i]), "save the file as UTF-8")
			good = false
		case r != '\n' && r != '\r' && r != '\t' && r != 0x85 && isControl(r):
			wrong.at(position{line, column}, "", fmt.Sprintf("control character 0x%02x", r), "remove it")
			good = false
		case r == '\n':
			line, column = line+1, 0
		}
		i += n
	}
	return good
}

// tree reads the YAML. It answers nil and true for a file with nothing but comments.
func tree(wrong *Mistakes, data []byte) (*yaml.Node, bool) {
	var docs []yaml.Node
	err := yaml.Load(data, &docs, yaml.WithAllDocuments(), yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(maxDepth))))
	if err != nil {
		syntax(wrong, data, err)
		return nil, false
	}
	if len(docs) > 1 {
		wrong.at(position{docs[1].Line, docs[1].Column}, "", "a second document begins here, and only one is read", "remove the line ---")
		return nil, false
	}
	switch {
	case len(docs) == 0 || docs[0].Kind == 0:
		return nil, true
	case docs[0].Kind == yaml.DocumentNode && len(docs[0].Content) == 1:
		return docs[0].Content[0], true
	}
	return &docs[0], true
}

// syntax says where the file stops being YAML. Nothing behind that place can be read, so it is the only mistake.
func syntax(wrong *Mistakes, data []byte, err error) {
	e, ok := errors.AsType[*yaml.LoadError](err)
	if !ok {
		wrong.Add("", "this is not YAML", "")
		return
	}
	message, hint := syntaxWords(e, lineOf(data, e.Mark.Line))
	at := position{e.Mark.Line, e.Mark.Column}
	if at.line == 0 {
		at = position{}
	} else if at.column == 0 {
		at.column = 1
	}
	wrong.at(at, "", message, hint)
}

func syntaxWords(e *yaml.LoadError, line string) (message, hint string) {
	from := fmt.Sprintf("line %d, column %d", e.ContextMark.Line, e.ContextMark.Column)
	switch {
	case strings.Contains(e.Message, "cannot start any token") && strings.Contains(line, "\t"):
		return "a tab stands where only spaces may", "indent with spaces"
	case strings.Contains(e.Message, "cannot start any token"):
		return "a value cannot begin with this character", "put the value in quotes"
	case strings.Contains(e.Message, "mapping values are not allowed"):
		return "a second colon in one line", "put the value in quotes, or begin a new line"
	case strings.Contains(e.Message, "',' or ']'"):
		return "the list that begins in " + from + " is not closed", "a comma or ] is missing"
	case strings.Contains(e.Message, "',' or '}'"):
		return "the braces that open in " + from + " are not closed", "a comma or } is missing"
	case strings.Contains(e.Message, "unexpected end of stream"):
		return "the quotes that open in " + from + " are not closed", ""
	case strings.Contains(e.Message, "did not find expected"):
		return "this line does not fit the indentation of what begins in " + from, "line it up"
	case strings.Contains(e.Message, "unknown anchor"):
		return "this alias stands for nothing", "define it with & before it is used"
	case strings.Contains(e.Message, "max depth"):
		return fmt.Sprintf("this is nested deeper than %d levels", maxDepth), ""
	}
	return "this is not YAML: " + printable(strings.TrimPrefix(e.Message, "yaml: ")), ""
}

func lineOf(data []byte, line int) string {
	lines := strings.SplitN(string(data), "\n", line+1)
	if line < 1 || line > len(lines) {
		return ""
	}
	return lines[line-1]
}

// inWords says what kept a file from being read, without the names of system calls.
func inWords(err error) string {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return "there is no file " + p.Path
		case errors.Is(err, fs.ErrPermission):
			return "the agent may not read " + p.Path
		}
		return fmt.Sprintf("%s cannot be read: %v", p.Path, p.Err)
	}
	return err.Error()
}

// mending answers the command that puts a file's rights in order, if those are the trouble.
func mending(err error) string {
	if e, ok := errors.AsType[*RightsError](err); ok {
		return "run: " + e.Mend
	}
	return ""
}
