package setup

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/test/harness"
	"github.com/pgwitness/pgwitness/test/network"
)

// TestServerSettings: a server that is not prepared for capture.
func TestServerSettings(t *testing.T) {
	for _, version := range harness.PostgresVersions(t) {
		if version.Major != 15 && version.Major != 18 {
			continue
		}
		t.Run(version.String(), func(t *testing.T) {
			settings := map[string]string{
				"wal_level": "replica", "max_replication_slots": "1", "wal_sender_timeout": "5s", "max_slot_wal_keep_size": "64MB",
			}
			if version.Major >= 18 {
				settings["idle_replication_slot_timeout"] = "1d"
			}
			server := harness.PostgresServer(t, version.Major, settings)
			d := newDatabase(t, server, version.Major, "shop")
			d.exec(shop, "SELECT pg_create_physical_replication_slot('taken')")
			cfg := d.config()
			for check, severity := range map[string]audit.Severity{
				"wal_level": audit.Failure, "max_replication_slots": audit.Failure, "wal_sender_timeout": audit.Warning, "max_slot_wal_keep_size": audit.Info,
			} {
				if f := d.find(cfg, check)[""]; f.Severity != severity || f.Fix == "" {
					t.Errorf("%s: finding %+v", check, f)
				}
			}
			if f := d.find(cfg, "idle_replication_slot_timeout")[""]; version.Major >= 18 && (f.Severity != audit.Warning || !strings.Contains(f.Message, "1440 min")) {
				t.Errorf("finding %+v", f)
			}
			if _, err := Prepare(context.Background(), cfg); err == nil || !strings.Contains(audit.Hint(err), "restart") {
				t.Errorf("error %v, hint %q", err, audit.Hint(err))
			}
		})
	}
}

// TestLostSlot: a slot whose write-ahead log was removed is never made anew
// without a human.
func TestLostSlot(t *testing.T) {
	for _, version := range harness.PostgresVersions(t) {
		if version.Major != 15 && version.Major != 18 {
			continue
		}
		t.Run(version.String(), func(t *testing.T) {
			server := harness.PostgresServer(t, version.Major, map[string]string{
				"wal_level": "logical", "max_slot_wal_keep_size": "1MB", "min_wal_size": "32MB", "max_wal_size": "32MB"})
			d := newDatabase(t, server, version.Major, "shop")
			d.exec(shop)
			cfg := d.config()
			d.setup(cfg)
			for range 4 {
				d.exec("SELECT pg_logical_emit_message(false, 'noise', 'x')", "SELECT pg_switch_wal()", "CHECKPOINT")
			}
			if f := d.find(cfg, "slot")[cfg.Slot]; f.Severity != audit.Failure || !strings.Contains(f.Fix, "pg_drop_replication_slot") {
				t.Errorf("finding %+v", f)
			}
			if _, err := Prepare(context.Background(), cfg); err == nil || !strings.Contains(audit.Hint(err), "pgwitness status") {
				t.Errorf("error %v, hint %q", err, audit.Hint(err))
			}
			d.teardown(cfg) // a lost slot can be taken out
			d.setup(cfg)
			if failed := d.failures(cfg); len(failed) > 0 {
				t.Errorf("after a new setup these fail: %v", failed)
			}
		})
	}
}

// TestUnreachable: an error that could not look at all has a hint, and no
// password.
func TestUnreachable(t *testing.T) {
	pg := harness.Postgres(t)
	role := "login_" + pg.Database
	pg.Exec("CREATE ROLE " + role + " LOGIN PASSWORD 'right'")
	defer pg.Exec("DROP ROLE " + role)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := closed.Addr().String()
	closed.Close()
	for name, dsn := range map[string]string{
		"nobody listens":    "postgres://x:hunter2@" + address + "/shop",
		"wrong password":    pg.DSNAs(role, "hunter2"),
		"no such database":  strings.Replace(pg.DSN(), pg.Database, "nowhere", 1),
		"no connection URL": "postgres://x:hunter2@:port/",
	} {
		cfg := Config{DSN: dsn, Slot: "s", Publication: "p", Tables: []Table{{Name: "public.*"}}}
		_, err := Check(context.Background(), cfg)
		if err == nil || strings.Contains(err.Error()+audit.Hint(err), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
		if name != "no connection URL" && audit.Hint(err) == "" {
			t.Errorf("%s: no hint for %v", name, err)
		}
	}
}

// TestPooler: behind a pooler another process answers than the one that was
// announced at the login. The test has the announcement changed on the way.
func TestPooler(t *testing.T) {
	pg := harness.Postgres(t)
	pg.Exec(shop)
	pooler := network.New(t, network.Host(t, pg.DSN()), network.Dialing(dialPooled))
	cfg := Config{DSN: pooler.Through(pg.DSN()), SidecarDSN: pg.DSN(), Slot: pg.Database, Publication: "p", Tables: []Table{{Name: "public.*"}}}
	found, err := Check(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		if f.Check == "pooler" && f.Severity != audit.Failure {
			t.Errorf("finding %+v", f)
		}
	}
	plan, err := Prepare(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	err = Apply(context.Background(), cfg, plan, nil)
	if err == nil || !strings.Contains(err.Error(), "pooler") || audit.Hint(err) == "" {
		t.Errorf("error %v, hint %q", err, audit.Hint(err))
	}
	if got := pg.Value("SELECT count(*) FROM pg_namespace WHERE nspname = 'pgwitness'"); got != "0" {
		t.Error("something was installed through a pooler")
	}
}

// dialPooled reaches a server that announces another process than it is, as
// PgBouncer does.
func dialPooled(address string) (net.Conn, error) {
	server, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	said, saying := io.Pipe()
	go func() { saying.CloseWithError(announce(saying, server)) }()
	return pooled{server, said}, nil
}

// pooled is a connection through which a server says something else.
type pooled struct {
	net.Conn
	said io.Reader
}

func (p pooled) Read(b []byte) (int, error) { return p.said.Read(b) }

// announce passes on what a server says, with another process, until it ends.
func announce(to io.Writer, server io.Reader) error {
	in, out := pgproto3.NewFrontend(server, io.Discard), pgproto3.NewBackend(nil, to)
	for {
		message, err := in.Receive()
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return io.EOF
		}
		if err != nil {
			return err
		}
		if key, ok := message.(*pgproto3.BackendKeyData); ok {
			key.ProcessID++
		}
		out.Send(message)
		if err := out.Flush(); err != nil {
			return err
		}
	}
}
