package vectors

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/tools/txtar"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/chain"
	"github.com/pgwitness/pgwitness/store"
)

// vectors is what the archives say, read without the code that is tested.
type vectors struct {
	genesis         chain.Genesis
	genesisLine     string
	genesisPreimage string
	genesisReadable string
	genesisHash     string
	secret          [32]byte
	entries         []entryVector
	roots           []string // by size
}

type entryVector struct {
	name                string
	entry               audit.Entry
	line                string
	readable            string // preimage, a netstring a line
	preimage            string // hexadecimal
	content, prev, hash string
}

// Genesis, Extent and Read make the archives a trail that verify can read.
func (v *vectors) Genesis(context.Context, string) (hash audit.Hash, rows uint64, err error) {
	return hashOf(v.genesisHash), 1, nil
}

func (v *vectors) Extent(context.Context, string) (rows, last uint64, err error) {
	return uint64(len(v.entries)), uint64(len(v.entries)) - 1, nil
}

func (v *vectors) Read(_ context.Context, _ string, from, to uint64, use func(*store.Columns) error) error {
	block := store.NewColumns()
	for i := range v.entries {
		if e := &v.entries[i].entry; e.Sequence >= from && e.Sequence <= to {
			block.Append(e)
		}
	}
	return use(block)
}

// lines is the trail as the SQL exports write it.
func (v *vectors) lines() []string {
	lines := []string{v.genesisLine}
	for _, e := range v.entries {
		lines = append(lines, e.line)
	}
	return lines
}

// paths lists the archives, the genesis first.
func paths(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(folder, "*.txtar"))
	if err != nil || len(found) == 0 {
		t.Fatalf("no vectors in %s: %v", folder, err)
	}
	return found // in order of name: 00-genesis, 01-…, 99-tree
}

func read(t *testing.T) *vectors {
	t.Helper()
	v := &vectors{}
	for _, path := range paths(t) {
		a, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		file := func(name string) string {
			for _, f := range a.Files {
				if f.Name == name {
					return string(f.Data)
				}
			}
			t.Fatalf("%s: no file %s", path, name)
			return ""
		}
		word := func(name string) string { return strings.TrimSpace(file(name)) }
		switch name := strings.TrimSuffix(filepath.Base(path), ".txtar"); name {
		case "00-genesis":
			v.genesisLine, v.genesisHash = word("genesis.json"), word("genesis_hash")
			v.genesisPreimage, v.genesisReadable = file("preimage.hex"), file("preimage.txt")
			v.secret = hashOf(word("stream_secret"))
			v.genesis = parseGenesis(t, v.genesisLine)
		case "99-tree":
			for line := range strings.Lines(file("roots")) {
				v.roots = append(v.roots, strings.Fields(line)[1])
			}
		default:
			line := word("entry.json")
			v.entries = append(v.entries, entryVector{
				name: name, line: line, entry: parseEntry(t, line),
				readable: file("preimage.txt"), preimage: file("preimage.hex"),
				content: word("content_hash"), prev: word("prev_hash"), hash: word("entry_hash"),
			})
		}
	}
	return v
}

func hashOf(s string) (h audit.Hash) {
	b, _ := hex.DecodeString(s) // what is not hexadecimal gives a wrong hash, which the tests find
	copy(h[:], b)
	return h
}

// hexLines is how archives write bytes: 32 of them a line, as xxd -p -c 32 does.
func hexLines(b []byte) []byte {
	var out []byte
	for chunk := range slices.Chunk(b, 32) {
		out = fmt.Appendf(out, "%x\n", chunk)
	}
	return out
}

func unhex(t *testing.T, s string) string {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// readable writes a preimage for a human eye: a netstring a line behind the
// name of its column. Printable text stands for itself, \\ for a backslash and
// \xNN for every other byte.
func readable(names []string, preimage []byte) []byte {
	var out []byte
	for _, name := range names {
		n := netstringLen(preimage)
		text := escape(preimage[:n])
		if slices.Contains([]string{"salt", "random", "log_public_key"}, name) {
			head, value, _ := bytes.Cut(preimage[:n], []byte(":"))
			text = fmt.Sprintf("%s:%s,", head, escapeAll(value[:len(value)-1]))
		}
		out = fmt.Appendf(out, "%-16s %s\n", name, text)
		preimage = preimage[n:]
	}
	return out
}

func escapeAll(b []byte) string {
	var out strings.Builder
	for _, c := range b {
		fmt.Fprintf(&out, `\x%02x`, c)
	}
	return out.String()
}

// netstringLen is the length of the netstring, or of the n, for NULL, that b
// begins with.
func netstringLen(b []byte) int {
	if bytes.HasPrefix(b, []byte("n,")) {
		return 2
	}
	digits, _, _ := bytes.Cut(b, []byte(":"))
	size, _ := strconv.Atoi(string(digits)) // 0 makes the generated file wrong, which the tests find
	return len(digits) + 1 + size + 1
}

func escape(b []byte) string {
	var out strings.Builder
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		switch {
		case r == '\\':
			out.WriteString(`\\`)
		case strconv.IsPrint(r) && r != utf8.RuneError:
			out.Write(b[:n])
		default:
			out.WriteString(escapeAll(b[:n]))
		}
		b = b[n:]
	}
	return out.String()
}

// unescape gives back the bytes that readable was given.
func unescape(t *testing.T, s string) string {
	t.Helper()
	var out strings.Builder
	for line := range strings.Lines(s) {
		line = strings.TrimSuffix(line[17:], "\n")
		for len(line) > 0 {
			switch {
			case strings.HasPrefix(line, `\\`):
				out.WriteByte('\\')
				line = line[2:]
			case strings.HasPrefix(line, `\x`):
				out.WriteString(unhex(t, line[2:4]))
				line = line[4:]
			default:
				out.WriteByte(line[0])
				line = line[1:]
			}
		}
	}
	return out.String()
}
