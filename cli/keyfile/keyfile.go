// Package keyfile reads the text of a configuration file, in TOML: its tables, keys and values, and
// the lines that they are on. What they mean is for others to know.
//
//	key = "value"       # at the top
//	[kind.name]
//	key = ["value", "value"]
//
// Nothing else is in such a file: no deeper tables, and no tables in lists.
package keyfile

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/secureportal/sp/internal/sorting"
)

// MaxSize is the most bytes that a file may have.
const MaxSize = 1 << 20

// File is what a file says.
type File struct {
	Top    []Key   // in the order in which they stand there
	Tables []Table // likewise
	lines  []string
}

// Table is what stands below [Kind.Name].
type Table struct {
	Kind, Name string
	Keys       []Key
	line       func() int
}

// Line returns where the table begins; 1 is the first line. It takes as long as reading the file:
// it is for what is wrong.
func (t Table) Line() int {
	line := t.line()
	if line == 0 && len(t.Keys) > 0 { // it has none of its own: outlet.db.target = …
		line = t.Keys[0].Line()
	}
	return max(line, 1)
}

// Key is a key and its value.
type Key struct {
	Name  string
	Value any // a string, int64, bool, []string, or something else, which no key has
	line  func() int
}

// Line returns where the key stands, as Table.Line does. It is 0 for a key that is in no file.
func (k Key) Line() int {
	if k.line == nil {
		return 0
	}
	return max(k.line(), 1)
}

// IsFrom tells whether a key is the same one of the same file as another, whatever its value.
func (k Key) IsFrom(other Key) bool { return k.Name == other.Name && k.Line() == other.Line() }

// At returns a key that stands where a table begins.
func (t Table) At(name string, value any) Key { return Key{name, value, t.Line} }

// Fault is something that is wrong with a file.
type Fault struct {
	Line int
	Text string
}

// Faultf makes a fault.
func Faultf(line int, format string, args ...any) Fault {
	return Fault{line, fmt.Sprintf(format, args...)}
}

// Parse reads a text. If it is no TOML there is one fault, and no file.
func Parse(text string) (*File, []Fault) {
	if len(text) > MaxSize {
		return nil, []Fault{Faultf(1, "the file is longer than %d bytes", MaxSize)}
	}
	var all map[string]toml.Primitive
	md, err := toml.Decode(text, &all)
	if err != nil {
		return nil, []Fault{notTOML(err)}
	}
	r := reader{
		md: &md, file: &File{lines: strings.Split(text, "\n")}, order: make(map[string]int),
	}
	for i, k := range md.Keys() {
		for n := range k {
			if path := k[:n+1].String(); r.order[path] == 0 {
				r.order[path] = i + 1
			}
		}
	}
	for name, value := range all {
		if kinds, isTable := r.table(value); isTable {
			r.readKind(name, kinds)
			continue
		}
		r.file.Top = append(r.file.Top, r.key(name, value))
	}
	r.sort()
	return r.file, r.faults
}

// twice is what the library says of a key or table that is there already.
var twice = regexp.MustCompile(`^Key '(.*)' (?:has|was) already`)

// notTOML says where a text is not TOML, and why.
func notTOML(err error) Fault {
	var at toml.ParseError
	if !errors.As(err, &at) {
		return Fault{1, err.Error()}
	}
	text := cmp.Or(at.Message, "it is not TOML")
	if m := twice.FindStringSubmatch(text); m != nil {
		return Fault{max(at.Position.Line, 1), m[1] + " is there twice, here and further up"}
	}
	if at.LastKey != "" && !strings.Contains(text, at.LastKey) {
		text += " (behind " + at.LastKey + ")"
	}
	return Fault{max(at.Position.Line, 1), text}
}

// reader makes a File of what the library has read.
type reader struct {
	md     *toml.MetaData
	file   *File
	order  map[string]int // of keys and tables, by their paths
	faults []Fault
}

// position fails to be read, and its error says where it stands.
type position struct{}

var errHere = errors.New("here")

// UnmarshalTOML implements toml.Unmarshaler.
func (*position) UnmarshalTOML(any) error { return errHere }

// line returns where a value's key stands, or 0 for a table without a line of its own.
func (r *reader) line(value toml.Primitive) int {
	var at toml.ParseError
	if errors.As(r.md.PrimitiveDecode(value, new(position)), &at) {
		return at.Position.Line
	}
	return 0
}

func (r *reader) table(value toml.Primitive) (keys map[string]toml.Primitive, isTable bool) {
	err := r.md.PrimitiveDecode(value, &keys)
	return keys, err == nil && keys != nil // a value that is none leaves it nil
}

// readKind reads the tables of a kind.
func (r *reader) readKind(kind string, tables map[string]toml.Primitive) {
	if len(tables) == 0 {
		r.faults = append(r.faults, r.nameless(kind, r.kindLine(kind)))
	}
	stray := 0
	for name, value := range tables {
		keys, isTable := r.table(value)
		if !isTable {
			if line := r.line(value); stray == 0 || line < stray {
				stray = line
			}
			continue
		}
		t := Table{Kind: kind, Name: name, line: func() int { return r.line(value) }}
		for key, value := range keys {
			t.Keys = append(t.Keys, r.key(key, value))
		}
		sorting.Func(t.Keys, func(a, b Key) int {
			return r.compare(toml.Key{kind, name, a.Name}, toml.Key{kind, name, b.Name})
		})
		r.file.Tables = append(r.file.Tables, t)
	}
	if stray > 0 {
		r.faults = append(r.faults, r.nameless(kind, stray))
	}
}

func (r *reader) nameless(kind string, line int) Fault {
	return Faultf(line, "[%s] stands without a name: [%[1]s.NAME]", kind)
}

// kindLine is where [kind] stands, which has nothing below it.
func (r *reader) kindLine(kind string) int {
	for i, line := range r.file.lines {
		if strings.HasPrefix(strings.ReplaceAll(line, " ", ""), "["+kind+"]") {
			return i + 1
		}
	}
	return 1
}

func (r *reader) key(name string, value toml.Primitive) Key {
	k := Key{Name: name, line: func() int { return r.line(value) }}
	var some any
	if err := r.md.PrimitiveDecode(value, &some); err != nil {
		some = nil
	}
	k.Value = some
	if list, ok := some.([]any); ok {
		texts := make([]string, 0, len(list))
		for _, one := range list {
			text, isText := one.(string)
			if !isText {
				return k
			}
			texts = append(texts, text)
		}
		k.Value = texts
	}
	return k
}

func (r *reader) sort() {
	sorting.Func(r.file.Top, func(a, b Key) int {
		return r.compare(toml.Key{a.Name}, toml.Key{b.Name})
	})
	sorting.Func(r.file.Tables, func(a, b Table) int {
		return r.compare(toml.Key{a.Kind, a.Name}, toml.Key{b.Kind, b.Name})
	})
	SortFaults(r.faults)
}

// compare tells which of two keys or tables stands first.
func (r *reader) compare(a, b toml.Key) int {
	return cmp.Compare(r.order[a.String()], r.order[b.String()])
}

// SortFaults puts faults in the order of their lines.
func SortFaults(faults []Fault) {
	sorting.Stable(faults, func(a, b Fault) int { return cmp.Compare(a.Line, b.Line) })
}

// LineOf returns where one of the values of a key stands: in the list that begins at its line.
func (f *File) LineOf(k Key, value string) int {
	list, isList := k.Value.([]string)
	first := k.Line()
	if !isList || !slices.Contains(list, value) {
		return first
	}
	quoted := strconv.Quote(value)
	for i := max(first, 1); i <= len(f.lines); i++ {
		line := f.lines[i-1]
		if strings.Contains(line, quoted) || strings.Contains(line, "'"+value+"'") {
			return i
		}
		if i > first && strings.HasPrefix(strings.TrimSpace(line), "[") {
			break // another table
		}
	}
	return first
}
