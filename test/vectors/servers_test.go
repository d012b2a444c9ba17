package vectors

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ClickHouse/ch-go"

	"github.com/pgwitness/pgwitness/engine"
	"github.com/pgwitness/pgwitness/sink"
	"github.com/pgwitness/pgwitness/sql"
	"github.com/pgwitness/pgwitness/store"
	"github.com/pgwitness/pgwitness/test/harness"
)

// The SQL files an auditor runs on ClickHouse, over the vectors as the sidecar
// stores them.
func TestVectorsClickHouse(t *testing.T) {
	v := read(t)
	trail := load(t, v)
	n := len(v.entries)

	var hashes struct {
		Entries        int
		Wrong          int
		WrongSequences []int `json:"wrong_sequences"`
	}
	trail.query("entry_hash.sql", &hashes)
	if hashes.Entries != n || hashes.Wrong != 0 || len(hashes.WrongSequences) != 0 {
		t.Errorf("entry_hash.sql says %+v, want %d entries and none wrong", hashes, n)
	}

	var links map[string]any
	trail.query("links.sql", &links)
	want := fmt.Sprintf("map[broken_links:[] duplicates:[] entries:%d first_sequence:0 geneses:1 last_sequence:%d missing:[] ordinal_holes:[] out_of_order:[]]", n, n-1)
	if got := fmt.Sprint(links); got != want {
		t.Errorf("links.sql says\n%s, want\n%s", got, want)
	}
}

// What the export writes is what the vectors say, and what verify.py accepts.
func TestVectorsExport(t *testing.T) {
	v := read(t)
	trail := load(t, v)
	exported := trail.text("export_genesis.sql") + trail.text("export.sql")
	name := filepath.Join(t.TempDir(), "trail.jsonl")
	if err := os.WriteFile(name, []byte(exported), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("python3", top+"/docs/verify.py", name).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "root "+v.roots[len(v.entries)]+"\nwrong 0\n") {
		t.Errorf("verify.py of the export: %v\n%s", err, out)
	}
	lines := strings.Split(strings.TrimSuffix(exported, "\n"), "\n")
	for i, want := range v.lines() {
		if strings.Contains(want, `{"hex":`) {
			continue // the export writes the bytes themselves
		}
		var a, b any
		if err := json.Unmarshal([]byte(lines[i]), &a); err != nil {
			t.Fatalf("%v in %s", err, lines[i])
		}
		if err := json.Unmarshal([]byte(want), &b); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(a) != fmt.Sprint(b) {
			t.Errorf("export writes\n%s, want\n%s", lines[i], want)
		}
	}
}

// The same in PostgreSQL, over what the export for it writes.
func TestVectorsPostgres(t *testing.T) {
	v := read(t)
	copied := load(t, v).text("export_postgres.sql")
	pg := harness.Postgres(t)
	pg.Exec(file(t, "postgres_table.sql"))
	conn := pg.Connect()
	ctx := context.Background()
	tag, err := conn.PgConn().CopyFrom(ctx, strings.NewReader(copied), "COPY audit_logs FROM STDIN")
	if err != nil || tag.RowsAffected() != int64(len(v.entries)) {
		t.Fatalf("copied %d rows, want %d: %v", tag.RowsAffected(), len(v.entries), err)
	}
	wrong := "SELECT coalesce(string_agg(sequence || ' ' || what, ', '), 'none') FROM (" + file(t, "postgres_entry_hash.sql") + ") AS w"
	if got := pg.Value(wrong); got != "none" {
		t.Errorf("postgres_entry_hash.sql finds %s", got)
	}

	// It finds what was altered, too.
	pg.Exec("UPDATE audit_logs SET salt = salt || '\\x00' WHERE sequence = 3")
	pg.Exec("UPDATE audit_logs SET reason_note = '' WHERE sequence = 5")
	pg.Exec("DELETE FROM audit_logs WHERE sequence = 8")
	if got, want := pg.Value(wrong), "3 entry_hash, 5 entry_hash, 9 prev_hash, 9 sequence"; got != want {
		t.Errorf("postgres_entry_hash.sql finds %s, want %s", got, want)
	}
}

// trail is the vectors in a database of their own.
type trail struct {
	t  *testing.T
	ch *harness.CH
}

// load stores the vectors as the sidecar does: schema, genesis, blocks that do
// not cross a month.
func load(t *testing.T, v *vectors) *trail {
	t.Helper()
	ctx := context.Background()
	db := harness.ClickHouse(t)
	server, err := store.Parse(db.AdminDSN())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sink.Migrate(ctx, server); err != nil {
		t.Fatal(err)
	}
	client, err := server.Dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	genesis := store.GenesisInput(store.Genesis(v.genesis), "")
	if err := client.Do(ctx, ch.Query{Body: genesis.Into("genesis"), Input: genesis}); err != nil {
		t.Fatal(err)
	}
	block := store.NewColumns()
	for i := range v.entries {
		block.Reset()
		block.Append(&v.entries[i].entry)
		if err := client.Do(ctx, ch.Query{Body: block.Input().Into("audit_logs"), Input: block.Input()}); err != nil {
			t.Fatal(err)
		}
	}
	return &trail{t, db}
}

// query runs a file and decodes its only row.
func (tr *trail) query(name string, into any) {
	tr.t.Helper()
	decode(tr.t, tr.text(name), into)
}

// text runs a file over HTTP, as curl would, and returns what the server says.
func (tr *trail) text(name string) string {
	tr.t.Helper()
	q := url.Values{"database": {tr.ch.Database}, "param_stream": {stream}, "default_format": {"JSONEachRow"}, "output_format_json_quote_64bit_integers": {"0"}}
	request, err := http.NewRequest(http.MethodPost, tr.ch.Server.HTTPURL()+"/?"+q.Encode(), strings.NewReader(file(tr.t, name)))
	if err != nil {
		tr.t.Fatal(err)
	}
	request.SetBasicAuth(engine.Admin, tr.ch.Server.Password(engine.Admin))
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		tr.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		tr.t.Fatalf("%s: %s %v\n%s", name, answer.Status, err, body)
	}
	return string(body)
}

func file(t *testing.T, name string) string {
	t.Helper()
	b, err := sql.Verify.ReadFile("verify/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
