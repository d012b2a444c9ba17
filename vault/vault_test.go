package vault

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/rs/zerolog"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/store"
)

// away is a vault that knows every key there is, and whose ClickHouse is away.
func away(t *testing.T, dir string, limit int) *Vault {
	t.Helper()
	v := New(store.Server{Addr: []string{"127.0.0.1:1"}}, Config{Subjects: limit}, "shop", dir, zerolog.Nop())
	v.begun, v.whole = true, true
	t.Cleanup(func() { _ = v.Close() })
	return v
}

func blanks(subjects ...string) []audit.Blank {
	var list []audit.Blank
	for _, s := range subjects {
		list = append(list, audit.Blank{At: make([]byte, audit.TokenSize), Class: "email", Subject: s, Value: []byte(s + "@example.com")})
	}
	return list
}

func filled(t *testing.T, v *Vault, subjects ...string) (tokens []string) {
	t.Helper()
	list := blanks(subjects...)
	if err := v.FillLocally(list); err != nil {
		t.Fatal(err)
	}
	for _, b := range list {
		if _, ok := audit.ParseToken(b.At); !ok {
			t.Fatalf("%q is no token", b.At)
		}
		tokens = append(tokens, string(b.At))
	}
	return tokens
}

// What is in the journal makes the same tokens after a crash, however much of the
// last frame the crash has left.
func TestJournalOutlivesACrash(t *testing.T) {
	dir := t.TempDir()
	v := away(t, dir, 1000)
	before := filled(t, v, "a", "b", "a")
	if before[0] != before[2] || before[0] == before[1] {
		t.Errorf("tokens %v", before)
	}
	info, err := os.Stat(v.journal.path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the journal is %v, %v", info.Mode(), err)
	}
	whole := info.Size()
	filled(t, v, "c")
	text, err := os.ReadFile(v.journal.path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := whole; cut <= int64(len(text)); cut = min(cut+9, max(cut+1, int64(len(text)))) {
		if err := os.WriteFile(v.journal.path, text[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		next := away(t, dir, 1000)
		if err := next.Open(true); err != nil {
			t.Fatal(err)
		}
		if n, want := len(next.journal.keys), map[bool]int{true: 3, false: 2}[cut == int64(len(text))]; n != want {
			t.Fatalf("cut at %d: %d keys, want %d", cut, n, want)
		}
		if after := filled(t, next, "a", "b", "a"); fmt.Sprint(after) != fmt.Sprint(before) {
			t.Fatalf("cut at %d: tokens %v, want %v", cut, after, before)
		}
	}
	text[20] ^= 1
	if err := os.WriteFile(v.journal.path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := away(t, dir, 1000).Open(true); !errors.Is(err, audit.ErrNeedsHuman) {
		t.Errorf("damage before the last frame: %v", err)
	}
	// Nothing is spooled, so nothing was sealed with these keys.
	if err := away(t, dir, 1000).Open(false); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(v.journal.path); !os.IsNotExist(err) {
		t.Errorf("the journal is still there: %v", err)
	}
}

// Without ClickHouse a key is made only for a subject that certainly has none.
func TestNoSecondKey(t *testing.T) {
	v := away(t, t.TempDir(), 1000)
	v.whole = false
	if err := v.FillLocally(blanks("a")); !errors.Is(err, ErrUndecided) {
		t.Errorf("a subject nobody knows of: %v", err)
	}
	v.pending["a"] = audit.SubjectKey{7} // ClickHouse said that there was none, and went away
	if got := filled(t, v, "a")[0]; got != string(audit.AppendToken(nil, v.tokens.Token(&audit.SubjectKey{7}, "email", []byte("a@example.com")))) {
		t.Error("the key of the attempt before was not taken")
	}
	filled(t, v, "a")
	small := away(t, t.TempDir(), 1000)
	for i := range 3000 {
		if err := small.FillLocally(blanks(fmt.Sprint(i))); err != nil {
			if !errors.Is(err, ErrUndecided) || i < 2000 {
				t.Fatalf("subject %d: %v", i, err)
			}
			return
		}
	}
	t.Error("keys were forgotten, and yet more were made")
}

func TestArrayText(t *testing.T) {
	if got, want := arrayText([]string{`a'b`, `c\`}), `['a\'b','c\\']`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
