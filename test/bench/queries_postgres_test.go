package bench

import (
	_ "embed"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/store"
	"github.com/pgwitness/pgwitness/test/harness"
)

//go:embed queries.sql
var auditTrailSQL string

// auditTrail is the entries of an archive in an audit table of PostgreSQL.
type auditTrail struct {
	a    *archive
	conn *pgx.Conn
	rows int
}

// newAuditTrail copies the entries and indexes them, as one would.
func newAuditTrail(a *archive) *auditTrail {
	a.t.Helper()
	pg := harness.PostgresOf(a.t, harness.Parts(a.t).Postgres, map[string]string{
		"shared_buffers": "4GB", "maintenance_work_mem": "1GB", "work_mem": "64MB", "autovacuum": "off",
		"wal_level": "minimal", "max_wal_senders": "0", // a table that is filled by who made it is not logged then
	})
	t := &auditTrail{a: a, conn: pg.Connect(), rows: a.entries}
	began := time.Now()
	t.exec("BEGIN")
	t.exec(auditTrailSQL)
	t.copy()
	t.exec("COMMIT")
	t.exec("CREATE INDEX ON audit_trail (resource_type, resource_id, timestamp)")
	t.exec("CREATE INDEX ON audit_trail (actor_id, timestamp)")
	t.exec("CREATE INDEX ON audit_trail (timestamp)")
	t.exec("VACUUM (ANALYZE) audit_trail")
	var size string
	if err := t.conn.QueryRow(a.t.Context(), "SELECT pg_size_pretty(pg_total_relation_size('audit_trail'))").Scan(&size); err != nil {
		a.t.Fatal(err)
	}
	a.t.Logf("audit table of %d rows and %s in PostgreSQL made in %s", t.rows, size, time.Since(began).Round(time.Second))
	return t
}

func (t *auditTrail) exec(statement string) {
	t.a.t.Helper()
	if _, err := t.conn.Exec(t.a.t.Context(), statement); err != nil {
		t.a.t.Fatalf("%v in\n%s", err, statement)
	}
}

// copy sends the entries as the text format of COPY.
func (t *auditTrail) copy() {
	t.a.t.Helper()
	client, err := t.a.reader.Dial(t.a.t.Context())
	if err != nil {
		t.a.t.Fatal(err)
	}
	defer client.Close()
	reader, writer := io.Pipe()
	go func() {
		var line []byte
		for e, err := range store.Entries(t.a.t.Context(), client, store.SelectListed(fmt.Sprintf("stream = 'shop' AND sequence < %d", t.rows), "ORDER BY sequence SETTINGS optimize_use_projections = 0")) {
			if err == nil {
				line = fmt.Appendf(line[:0], "%d\t%s", e.Sequence, time.UnixMicro(e.Timestamp).UTC().Format("2006-01-02 15:04:05.000000Z"))
				for _, text := range []audit.Text{e.ActorID, e.ActorType, e.ResourceType, e.ResourceID, e.Action, e.OldValues, e.NewValues, e.Source, e.IPAddress, e.ReasonCode} {
					if line = append(line, '\t'); text == nil {
						line = append(line, `\N`...)
					} else {
						line = append(line, strings.ReplaceAll(string(text), `\`, `\\`)...)
					}
				}
				_, err = writer.Write(append(line, '\n'))
			}
			if err != nil {
				writer.CloseWithError(err)
				return
			}
		}
		writer.Close()
	}()
	tag, err := t.conn.PgConn().CopyFrom(t.a.t.Context(), reader, "COPY audit_trail FROM STDIN (FREEZE)")
	if err != nil || tag.RowsAffected() != int64(t.rows) {
		t.a.t.Fatalf("copied %d of %d entries: %v", tag.RowsAffected(), t.rows, err)
	}
}

// ask reads the answer to the end.
func (t *auditTrail) ask(q question) {
	t.a.t.Helper()
	rows, err := t.conn.Query(t.a.t.Context(), t.a.known.fill(q.postgres))
	if err != nil {
		t.a.t.Fatal(err)
	}
	n := 0
	for rows.Next() {
		n++
	}
	if rows.Close(); rows.Err() != nil || n == 0 {
		t.a.t.Fatalf("%s: %d rows, %v", q.name, n, rows.Err())
	}
}
