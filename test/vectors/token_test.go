package vectors

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/test/harness"
)

const tokenFile = top + "/chain/testdata/tokens.txtar"

// opening is one line of the token vectors.
type opening struct {
	SubjectKey string `json:"subject_key"`
	Class      string `json:"class"`
	Value      text   `json:"value"`
	Token      string `json:"token"`
}

// tokenVectors are made without the package that makes tokens.
func tokenVectors(t *testing.T) []byte {
	t.Helper()
	key := sha256.Sum256([]byte("subject key of the vectors"))
	zero := key
	zero[0], zero[31] = 0, 0
	var lines bytes.Buffer
	for _, v := range []struct {
		key          [32]byte
		class, value string
	}{
		{key, "email", "alice@example.com"}, {key, "email", "bob@example.com"}, {key, "name", "alice@example.com"}, {zero, "email", "alice@example.com"},
		{key, "ip", "203.0.113.7"}, {key, "address", ""}, {key, "address", `{"street": "Große Straße 漢字 😀", "q": "\" \\ ' ,"}`}, {key, "note", "5:hello,n,"},
		{key, "note", "tab\tline\nzero\x00end\x00"}, {key, "note", "\x80 not UTF-8 \xff\x00"}, {key, "big", strings.Repeat("0123456789", 1000)},
	} {
		preimage := fmt.Sprintf("%s18:pgwitness/token/v1,%d:%s,%d:%s,", v.key[:], len(v.class), v.class, len(v.value), v.value)
		line, err := json.Marshal(opening{hex.EncodeToString(v.key[:]), v.class, text(v.value), fmt.Sprintf("pii:%x", sha256.Sum256([]byte(preimage)))})
		if err != nil {
			t.Fatal(err)
		}
		lines.Write(append(line, '\n'))
	}
	return txtar.Format(&txtar.Archive{
		Comment: []byte("Tokens of personal values: SHA-256 over the key of the subject, and as netstrings\nthe tag, the class and the value. A value that is not UTF-8 is {\"hex\": …}.\n\n"),
		Files:   []txtar.File{{Name: "openings.jsonl", Data: lines.Bytes()}},
	})
}

// readTokens reads the archive, which must be the generated one.
func readTokens(t *testing.T) []opening {
	t.Helper()
	want := tokenVectors(t)
	if flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile(tokenFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(tokenFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("tokens.txtar is not what the generator makes (go test ./test/vectors -update writes it)")
	}
	var all []opening
	for line := range strings.Lines(string(txtar.Parse(got).Files[0].Data)) {
		var o opening
		decode(t, line, &o)
		all = append(all, o)
	}
	return all
}

func TestTokensGo(t *testing.T) {
	var tok audit.Tokenizer
	for _, o := range readTokens(t) {
		key := audit.SubjectKey([]byte(unhex(t, o.SubjectKey)))
		if got := string(audit.AppendToken(nil, tok.Token(&key, o.Class, []byte(o.Value)))); got != o.Token {
			t.Errorf("token of %s %q is %s, want %s", o.Class, o.Value, got, o.Token)
		}
	}
}

func TestTokensPython(t *testing.T) {
	readTokens(t)
	text, err := os.ReadFile(tokenFile)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		text string
		says string
		ok   bool
	}{
		"right": {string(text), "wrong 0\n", true},
		"wrong": {strings.Replace(string(text), `"class":"name"`, `"class":"nam"`, 1), "wrong 1\n", false},
	} {
		file := filepath.Join(t.TempDir(), "tokens.jsonl")
		if err := os.WriteFile(file, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("python3", top+"/docs/verify.py", file).CombinedOutput()
		if (err == nil) != c.ok || !strings.HasSuffix(string(out), c.says) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

func TestTokensClickHouse(t *testing.T) {
	tr := load(t, read(t))
	openings := readTokens(t)
	for i, o := range openings {
		tr.ch.Exec(fmt.Sprintf("INSERT INTO %s.subjects (stream, subject, subject_key) SELECT 'vectors', '%d', unhex('%s')", tr.ch.Database, i, o.SubjectKey))
		tr.ch.Exec(fmt.Sprintf("INSERT INTO %s.openings (stream, token, class, value, subject) SELECT 'vectors', unhex('%s'), '%s', unhex('%x'), '%d'", tr.ch.Database, o.Token[4:], o.Class, string(o.Value), i))
	}
	var got struct {
		Openings, Wrong int
		WrongTokens     []string `json:"wrong_tokens"`
	}
	tr.query("tokens.sql", &got)
	if got.Openings != len(openings) || got.Wrong != 0 {
		t.Errorf("tokens.sql says %+v", got)
	}
	tr.ch.Exec("INSERT INTO " + tr.ch.Database + ".openings (stream, token, class, value, subject) VALUES ('vectors', '', 'email', 'x', '0')")
	if tr.query("tokens.sql", &got); got.Wrong != 1 || len(got.WrongTokens) != 1 {
		t.Errorf("tokens.sql finds %+v, want one that is wrong", got)
	}
}

func TestTokensPostgres(t *testing.T) {
	pg := harness.Postgres(t)
	pg.Exec("CREATE TABLE openings (subject_key bytea, class text, value bytea, token text)")
	conn := pg.Connect()
	defer conn.Close(context.Background())
	for _, o := range readTokens(t) {
		if _, err := conn.Exec(t.Context(), "INSERT INTO openings VALUES ($1, $2, $3, $4)", []byte(unhex(t, o.SubjectKey)), o.Class, []byte(o.Value), o.Token); err != nil {
			t.Fatal(err)
		}
	}
	wrong := "SELECT coalesce(string_agg(token, ' '), 'none') FROM (" + file(t, "postgres_tokens.sql") + ") AS w"
	if got := pg.Value(wrong); got != "none" {
		t.Errorf("postgres_tokens.sql finds %s", got)
	}
	pg.Exec("UPDATE openings SET class = 'nam' WHERE class = 'name'")
	if got := pg.Value(wrong); strings.Count(got, "pii:") != 1 {
		t.Errorf("postgres_tokens.sql finds %s, want one that is wrong", got)
	}
}
