package harness

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/pgwitness/pgwitness/engine"
)

// StandbySlot is the physical slot of the primary that a Standby streams from.
const StandbySlot = "standby"

// Standby makes a streaming standby of the server, as a base backup does, and starts it. It has the
// settings of the primary, those given here, and needs its own server to be Promoted.
func (pg *PG) Standby(settings map[string]string) *PG {
	pg.t.Helper()
	pg.mustOwn()
	pg.onServer("SELECT pg_create_physical_replication_slot('" + StandbySlot + "', true)")
	dir := serverFolder(pg.t, "standby")
	copyBackup(pg.t, pg, dir)
	primary, err := url.Parse(pg.Server.DSN("postgres"))
	check(pg.t, "read connection string", err)
	password, _ := primary.User.Password()
	all := maps.Clone(pg.settings)
	all["primary_conninfo"] = fmt.Sprintf("host=%s port=%s user=%s password=%s dbname=postgres application_name=standby",
		primary.Hostname(), primary.Port(), primary.User.Username(), password)
	all["primary_slot_name"] = StandbySlot
	all["hot_standby_feedback"] = "on"
	all["wal_receiver_status_interval"] = "1s"
	maps.Copy(all, settings)
	standby := &PG{t: pg.t, Database: pg.Database, private: true, bin: pg.bin, settings: all}
	standby.Server = engine.NewPostgres(engine.PostgresConfig{BinDir: pg.bin, Dir: dir, Settings: all})
	ctx, cancel := patient()
	defer cancel()
	check(pg.t, "start standby", standby.Server.Start(ctx))
	pg.t.Cleanup(func() {
		standby.disconnect()
		check(pg.t, "stop standby", standby.Server.Kill())
	})
	return standby
}

// copyBackup copies the data of a running server, with what its start needs to know of that.
func copyBackup(t testing.TB, pg *PG, dir string) {
	t.Helper()
	ctx, cancel := patient()
	defer cancel()
	conn, err := pgx.Connect(ctx, pg.Server.DSN("postgres"))
	check(t, "connect to postgres", err)
	defer conn.Close(context.Background())
	// Since 15 these functions have another name, and one way to be used.
	begin, end := "pg_backup_start('standby', true)", "pg_backup_stop(false)"
	var major int
	check(t, "ask for the version", conn.QueryRow(ctx, "SELECT current_setting('server_version_num')::int / 10000").Scan(&major))
	if major < 15 {
		begin, end = "pg_start_backup('standby', true, false)", "pg_stop_backup(false, false)"
	}
	_, err = conn.Exec(ctx, "SELECT "+begin)
	check(t, "begin backup", err)
	from := filepath.Dir(pg.Value("SHOW data_directory"))
	said, err := exec.CommandContext(ctx, "cp", "-a", from+"/.", dir).CombinedOutput()
	check(t, "copy the server: "+string(said), err)
	var label string
	check(t, "end backup", conn.QueryRow(ctx, "SELECT labelfile FROM "+end).Scan(&label))
	data := filepath.Join(dir, "data")
	for _, gone := range []string{"postmaster.pid", "postmaster.opts"} {
		check(t, "make the copy a standby", os.RemoveAll(filepath.Join(data, gone)))
	}
	slots, err := filepath.Glob(filepath.Join(data, "pg_replslot", "*"))
	check(t, "make the copy a standby", err)
	for _, slot := range slots {
		check(t, "make the copy a standby", os.RemoveAll(slot))
	}
	writeAs(t, filepath.Join(data, "PG_VERSION"), filepath.Join(data, "backup_label"), label)
	writeAs(t, filepath.Join(data, "PG_VERSION"), filepath.Join(data, "standby.signal"), "")
}

// writeAs writes a file that belongs to whom another one does.
func writeAs(t testing.TB, like, path, text string) {
	t.Helper()
	said, err := exec.Command("cp", "-a", like, path).CombinedOutput()
	check(t, "write "+path+": "+string(said), err)
	check(t, "write "+path, os.WriteFile(path, []byte(text), 0o600))
}

// Promote makes a standby a primary of its own.
func (pg *PG) Promote() {
	pg.t.Helper()
	if pg.Value("SELECT pg_promote(true, 60)") != "t" {
		pg.t.Fatal("promote standby: it does not become a primary within a minute")
	}
}
