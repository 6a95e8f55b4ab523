package test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// pageStep is a command of a page, and what the page shows that it prints.
type pageStep struct {
	machine string // whose prompt it has; empty where that is $, or none
	command string
	shows   []string
}

// pageBlock is what stands in a page as it is: indented, or fenced.
type pageBlock struct {
	page, section string
	language      string // of a fence
	lines         []string
	steps         []pageStep // that are in it; none are in drawings and files
}

func (b *pageBlock) at() string { return b.page + ", " + b.section }

var (
	pageHeading = regexp.MustCompile(`^#+ (.+)$`)
	pagePrompt  = regexp.MustCompile(`^([a-z][a-z0-9]*)?\$ +(\S.*)$`)
	rootPrompt  = regexp.MustCompile(`^# (\S.*)$`)

	// noPrompt is a command in a block without prompts.
	noPrompt = regexp.MustCompile(`^(?:sp|go|hugo|git|apt-get|icacls|docker|brew|nix) `)
)

// readBlocks returns the blocks of a page.
func readBlocks(t *testing.T, path string) []*pageBlock {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page, err := filepath.Rel("..", path)
	if err != nil {
		t.Fatal(err)
	}
	return blocksOf(page, string(text))
}

func blocksOf(page, text string) (all []*pageBlock) {
	section, fenced, blank, before := "", false, 0, ""
	var block *pageBlock
	end := func() {
		if block != nil {
			block.readSteps()
			all = append(all, block)
		}
		block, blank = nil, 0
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		inside, indented := strings.CutPrefix(line, "    ")
		language, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && fenced:
			end()
			fenced = false
		case fence:
			end()
			fenced = true
			block = &pageBlock{page: page, section: section, language: language}
		case fenced:
			block.lines = append(block.lines, line)
		case indented && (block != nil || before == ""):
			if block == nil || blank > 0 && (block.isDrawing() || isCommand(inside)) {
				end()
				block = &pageBlock{page: page, section: section}
			}
			block.lines = append(block.lines, slices.Repeat([]string{""}, blank)...)
			block.lines, blank = append(block.lines, inside), 0
		case line == "" && block != nil:
			blank++
		default:
			end()
			if h := pageHeading.FindStringSubmatch(line); h != nil {
				section = h[1]
			}
		}
		before = line
	}
	end()
	return all
}

// isCommand reports whether a line begins a command.
func isCommand(line string) bool {
	return pagePrompt.MatchString(line) || noPrompt.MatchString(line)
}

// readSteps finds the commands in a block: those behind prompts, or, where it begins with one that
// has none, all lines that are no comments. What a shell reads on is one command.
func (b *pageBlock) readSteps() {
	if b.language == "sh" {
		b.steps = []pageStep{{command: strings.Join(b.lines, "\n")}}
		return
	}
	lines := slices.Clone(b.lines)
	first := slices.IndexFunc(lines, func(l string) bool { return !strings.HasPrefix(l, "# ") })
	bare := first >= 0 && b.language == "" && noPrompt.MatchString(lines[first])
	if !bare && pagePrompt.FindString(lines[0]) == "" && rootPrompt.FindString(lines[0]) == "" {
		return
	}
	for i := 0; i < len(lines); i++ {
		s, ok := pageStep{}, false
		switch p, r := pagePrompt.FindStringSubmatch(lines[i]), rootPrompt.FindStringSubmatch(lines[i]); {
		case bare:
			s.command, ok = lines[i], lines[i] != "" && !strings.HasPrefix(lines[i], "#")
		case p != nil:
			s.machine, s.command, ok = p[1], p[2], true
		case r != nil:
			s.machine, s.command, ok = "root", r[1], true
		}
		for ok && i+1 < len(lines) && readsOn(s.command) {
			i++
			s.command = strings.TrimSuffix(s.command, `\`) + "\n" + strings.TrimSpace(lines[i])
			s.command = strings.ReplaceAll(s.command, " \n", " ")
		}
		if ok {
			b.steps = append(b.steps, s)
		} else if n := len(b.steps); n > 0 && !bare {
			b.steps[n-1].shows = append(b.steps[n-1].shows, lines[i])
		}
	}
}

// readsOn reports whether a shell reads another line before it does this.
func readsOn(command string) bool {
	return strings.HasSuffix(command, `\`) ||
		strings.Contains(command, "; do") && !strings.HasSuffix(command, "done")
}

// isDrawing reports whether a block is one.
func (b *pageBlock) isDrawing() bool {
	text := strings.Join(b.lines, "\n")
	return b.language == "" && strings.ContainsAny(text, "─═▶◀║")
}

var (
	shownNumber = regexp.MustCompile(`[0-9]+(?:\\?[.:,TZ-][0-9]+)*Z?` +
		`(?: (?:kB|MB|B|h|min|s|ms|µs)\b)?`)
	shownIdentifier = regexp.MustCompile(`\bI[0-9a-f]{5,}…`)
	shownSpace      = regexp.MustCompile(` +`)
)

// shown is what a line of a page says of one that is printed: figures may be others, … stands for
// whatever is there, and columns may be as wide as they are.
func shown(line string) *regexp.Regexp {
	line = regexp.QuoteMeta(strings.TrimRight(line, " "))
	line = shownIdentifier.ReplaceAllString(line, "I…")
	line = shownNumber.ReplaceAllString(line, `[0-9][0-9.:,TZ-]*(?: (?:[kMG]?B|d|h|min|s|ms|µs))?`)
	line = strings.ReplaceAll(line, "…", ".*")
	return regexp.MustCompile("^" + shownSpace.ReplaceAllString(line, " +") + " *$")
}
