package store_test

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/store"
	"github.com/pgwitness/pgwitness/test/harness"
)

const secret = "hunter2secret"

func TestParseReadsADSN(t *testing.T) {
	for dsn, want := range map[string]string{
		"clickhouse://sink:" + secret + "@db:9000/trail":        "sink@db:9000/trail",
		"clickhouse://sink:" + secret + "@db":                   "sink@db:9000/",
		"clickhouse://sink:" + secret + "@db?secure=true":       "sink@db:9440/",
		"clickhouse://a:1,b:2/":                                 "default@a:1,b:2/",
		"tcp://u:" + secret + "@[::1]:9000":                     "u@[::1]:9000/",
		"clickhouse://db:9000?username=u&password=" + secret:    "u@db:9000/",
		"clickhouse://u:p%40" + secret + "%2F@db:9000/d?x=1":    "u@db:9000/d",
		"clickhouse://u:" + secret + "@db:9000?dial_timeout=2s": "u@db:9000/",
	} {
		s, err := store.Parse(dsn)
		if err != nil || s.String() != want {
			t.Errorf("Parse(%s) is %s (%v), want %s", dsn, s, err, want)
		}
		if text := fmt.Sprintf("%v %+v %#v %s", s, s, s, s); strings.Contains(text, secret) {
			t.Errorf("printing a server shows its password: %s", text)
		}
	}
	s, _ := store.Parse("clickhouse://u:p%40" + secret + "%2F@db:9000/d")
	if user, password := s.Credentials(); user != "u" || password != "p@"+secret+"/" {
		t.Errorf("credentials are %s and %s", user, password)
	}
}

func TestParseRefusesWithoutShowingThePassword(t *testing.T) {
	for _, dsn := range []string{
		"", secret, "clickhouse://", "http://u:" + secret + "@db:8123", "postgres://u:" + secret + "@db/x",
		"clickhouse://u:" + secret + "/x@db:9000", "clickhouse://u:" + secret + "%zz@db", "clickhouse://u:1" + secret + "#@db",
	} {
		_, err := store.Parse(dsn)
		if err == nil {
			t.Errorf("Parse(%q) accepts it", dsn)
			continue
		}
		if strings.Contains(err.Error()+audit.Hint(err), secret) {
			t.Errorf("Parse(%q) shows the password: %v", dsn, err)
		}
		if audit.Hint(err) == "" {
			t.Errorf("Parse(%q): %v has no hint", dsn, err)
		}
	}
}

func TestRedactHidesThePassword(t *testing.T) {
	for _, dsn := range []string{
		"clickhouse://u:" + secret + "@db:9000/x", "clickhouse://db?username=u&password=" + secret,
		"clickhouse://u:" + secret + "/x@db:9000", "clickhouse://u:" + secret + "%zz@db", secret,
	} {
		if got := store.Redact(dsn); strings.Contains(got, secret) {
			t.Errorf("Redact(%s) is %s", dsn, got)
		}
	}
	if got := store.Redact("clickhouse://u:" + secret + "@db:9000/x"); got != "clickhouse://u:xxxxx@db:9000/x" {
		t.Errorf("Redact keeps %s of the rest", got)
	}
}

// Every way to fail to connect says what is wrong and what to do, for both
// libraries, and no password.
func TestConnectErrorsSayWhatToDo(t *testing.T) {
	// The embedded engine does not survive a refused native login, so this
	// test has one of its own and starts it again after each.
	tr := trailOn(t, harness.ClickHouseServer(t))
	good := tr.AdminDSN()
	user, password := tr.server.Credentials()
	silent, free := listen(t), listen(t)
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	address := tr.server.Addr[0]
	http := strings.TrimPrefix(tr.Server.HTTPURL(), "http://")
	at := func(other string) string { return strings.Replace(good, address, other, 1) }

	for name, c := range map[string]struct{ dsn, hint string }{
		"wrong password":   {strings.Replace(good, password, secret, 1), "check user and password of " + user},
		"unknown database": {strings.Replace(good, tr.Database, "nowhere", 1), "pgwitness setup"},
		"nothing listens":  {at(free.Addr().String()), "nothing listens at " + free.Addr().String()},
		"silence":          {at(silent.Addr().String()) + "?dial_timeout=200ms", "does not answer"},
		"HTTP port":        {at(http) + "?dial_timeout=1s", "native port"},
		"unknown host":     {at("no-such-host.invalid:9000"), "does not resolve"},
		"no TLS there":     {good + "?secure=true&dial_timeout=2s", "does not speak TLS"},
	} {
		server, err := store.Parse(c.dsn)
		if err != nil {
			t.Fatal(err)
		}
		_, byNative := server.Open(t.Context())
		tr.Kill()
		tr.Start()
		_, byColumns := server.Dial(t.Context())
		tr.Kill()
		tr.Start()
		for library, err := range map[string]error{"clickhouse-go": byNative, "ch-go": byColumns} {
			if err == nil {
				t.Errorf("%s: %s connects", name, library)
				continue
			}
			if hint := audit.Hint(err); !strings.Contains(hint, c.hint) {
				t.Errorf("%s: %s: %v has hint %q, want one with %q", name, library, err, hint, c.hint)
			}
			if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), password) {
				t.Errorf("%s: %s shows the password: %v", name, library, err)
			}
		}
	}
}

// listen opens a port on which nobody answers.
func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // closed already where the test wants a dead port
	return l
}

func TestConfigNamesEveryProblem(t *testing.T) {
	if err := store.DefaultConfig().Validate(); err != nil {
		t.Errorf("the default configuration: %v", err)
	}
	bad := store.Config{
		DSN: "http://u:" + secret + "@db", AdminDSN: "clickhouse://u:" + secret + "@db/other", ReaderDSN: "nonsense",
		Database: "my-trail", Compression: "gzip", DialTimeout: -time.Second,
	}
	err := bad.Validate()
	if err == nil || strings.Contains(err.Error(), secret) {
		t.Fatalf("validation says %v", err)
	}
	for _, key := range []string{"dsn", "admin_dsn", "reader_dsn", "database", "compression", "dial_timeout"} {
		if !strings.Contains(err.Error(), "clickhouse."+key+": ") {
			t.Errorf("validation does not name clickhouse.%s: %v", key, err)
		}
	}
}

func TestConfigFallsBackToTheDSN(t *testing.T) {
	c := store.DefaultConfig()
	c.DSN = "clickhouse://sink@db:9000"
	c.ReaderDSN = "clickhouse://reader@db:9000/pgwitness"
	for want, server := range map[string]func() (store.Server, error){
		"sink@db:9000/pgwitness": c.Writer, "reader@db:9000/pgwitness": c.Reader,
	} {
		if s, err := server(); err != nil || s.String() != want {
			t.Errorf("server is %s (%v), want %s", s, err, want)
		}
	}
	if s, err := c.Admin(); err != nil || s.User != "sink" {
		t.Errorf("admin is %s (%v), want the user of the DSN", s, err)
	}
}

// What stays on this machine is not compressed, unless somebody says so.
func TestCompressionByDistance(t *testing.T) {
	for _, c := range []struct {
		compression, dsn string
		want             bool
	}{
		{store.CompressAuto, "clickhouse://localhost:9000", false},
		{store.CompressAuto, "clickhouse://127.0.0.1", false},
		{store.CompressAuto, "clickhouse://[::1]:9000", false},
		{store.CompressAuto, "clickhouse://db:9000", true},
		{store.CompressAuto, "clickhouse://127.0.0.1:9000,db:9000", true},
		{store.CompressLZ4, "clickhouse://localhost:9000", true},
		{store.CompressNone, "clickhouse://db:9000", false},
	} {
		cfg := store.DefaultConfig()
		cfg.DSN, cfg.Compression = c.dsn, c.compression
		if s, err := cfg.Writer(); err != nil || s.Compress != c.want {
			t.Errorf("compression %s to %s: %v (%v), want %v", c.compression, c.dsn, s.Compress, err, c.want)
		}
	}
}

func TestHintsOfTheServerKeepTheFirst(t *testing.T) {
	own := audit.WithHint(errors.New("x"), "do this")
	if got := (store.Server{}).Explain(own); got != own {
		t.Errorf("Explain replaces a hint by %q", audit.Hint(got))
	}
}
