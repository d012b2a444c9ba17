package store

import (
	"context"
	"crypto/tls"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/pgwitness/pgwitness/audit"
)

// The oldest server that is accepted: the long-term support release of March
// 2025. Older ones are out of support at ClickHouse, too.
const (
	oldestMajor = 25
	oldestMinor = 3
)

// Server is a ClickHouse server and who we are on it, read from a DSN once and
// used by both client libraries.
type Server struct {
	Addr        []string // host:port, tried in order
	User        string
	Database    string // "" leaves the user's default database
	Compress    bool   // LZ4 on the wire
	DialTimeout time.Duration
	TLS         *tls.Config // nil: plain text

	password string
	settings clickhouse.Settings
}

// Parse reads a DSN of the form clickhouse://user:password@host:port/database.
// Its errors never contain the DSN, because the DSN contains a password.
func Parse(dsn string) (Server, error) {
	form := "want clickhouse://user:password@host:9000; in a password, write @ / ? # % as %40 %2F %3F %23 %25"
	scheme, _, ok := strings.Cut(dsn, "://")
	if !ok {
		return Server{}, audit.WithHint(errors.New("parse ClickHouse DSN: no scheme"), form)
	}
	if scheme == "http" || scheme == "https" {
		return Server{}, audit.WithHint(fmt.Errorf("parse ClickHouse DSN: scheme %s is the HTTP interface; pgwitness speaks the native protocol", scheme),
			"use clickhouse://…:9000, or …:9440?secure=true with TLS")
	}
	o, err := clickhouse.ParseDSN(dsn)
	if err != nil || (scheme != "clickhouse" && scheme != "tcp" && scheme != "native") {
		return Server{}, audit.WithHint(errors.New("parse ClickHouse DSN: not a valid URL"), form)
	}
	s := Server{
		Addr: o.Addr, User: o.Auth.Username, Database: o.Auth.Database, Compress: true,
		DialTimeout: 5 * time.Second, TLS: o.TLS, password: o.Auth.Password, settings: o.Settings,
	}
	for i, a := range s.Addr {
		s.Addr[i] = withPort(a, o.TLS != nil)
	}
	if o.DialTimeout > 0 {
		s.DialTimeout = o.DialTimeout
	}
	return s, nil
}

// local reports whether every address is one of this machine by its form.
func (s Server) local() bool {
	return !slices.ContainsFunc(s.Addr, func(addr string) bool {
		host, _, err := net.SplitHostPort(addr)
		ip, _ := netip.ParseAddr(host)
		return err != nil || host != "localhost" && !ip.IsLoopback()
	})
}

// withPort adds the native port to an address that has none.
func withPort(addr string, secure bool) string {
	if i := strings.LastIndexByte(addr, ':'); i >= 0 && !strings.HasSuffix(addr, "]") {
		return addr
	}
	if secure {
		return addr + ":9440"
	}
	return addr + ":9000"
}

// String names the server without its password: user@host:port/database.
func (s Server) String() string {
	return fmt.Sprintf("%s@%s/%s", or(s.User, "default"), strings.Join(s.Addr, ","), s.Database)
}

// GoString keeps the password out of %#v as well.
func (s Server) GoString() string { return s.String() }

// In is the same server with another default database.
func (s Server) In(database string) Server {
	s.Database = database
	return s
}

// Open is Parse and Server.Open in one, with LZ4 and a dial timeout of 5 s.
func Open(ctx context.Context, dsn, database string) (driver.Conn, error) {
	s, err := Parse(dsn)
	if err != nil {
		return nil, err
	}
	return s.In(database).Open(ctx)
}

// Credentials are the user and the password of the DSN, for the statement that
// creates that user.
func (s Server) Credentials() (user, password string) { return s.User, s.password }

// OpenDB is the same server for database/sql, which migrations ask for. It
// connects at first use.
func (s Server) OpenDB() *sql.DB { return clickhouse.OpenDB(s.options()) }

func (s Server) options() *clickhouse.Options {
	o := &clickhouse.Options{
		Addr:        s.Addr,
		Auth:        clickhouse.Auth{Database: s.Database, Username: s.User, Password: s.password},
		TLS:         s.TLS,
		Settings:    s.settings,
		DialTimeout: s.DialTimeout,
		ReadTimeout: 5 * time.Minute,
	}
	if s.Compress {
		o.Compression = &clickhouse.Compression{Method: clickhouse.CompressionLZ4}
	}
	return o
}

// Open connects a pool of clickhouse-go, for statements and small results. The
// server has answered, with a version that we support, when it returns.
func (s Server) Open(ctx context.Context) (driver.Conn, error) {
	conn, err := clickhouse.Open(s.options())
	if err != nil {
		return nil, fmt.Errorf("connect to ClickHouse %s: %w", s, err)
	}
	v, err := conn.ServerVersion()
	if err == nil {
		err = s.accept(int(v.Version.Major), int(v.Version.Minor))
	}
	if err == nil {
		err = conn.Ping(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connect to ClickHouse %s: %w", s, s.Explain(err)), conn.Close())
	}
	return conn, nil
}

// Dial opens one connection of ch-go, for blocks of columns in either
// direction. It belongs to one goroutine at a time.
func (s Server) Dial(ctx context.Context) (*ch.Client, error) {
	var failed []error
	for _, addr := range s.Addr {
		client, err := s.dial(ctx, addr)
		if err == nil {
			return client, nil
		}
		failed = append(failed, err)
	}
	return nil, fmt.Errorf("connect to ClickHouse %s: %w", s, s.Explain(errors.Join(failed...)))
}

func (s Server) dial(ctx context.Context, addr string) (*ch.Client, error) {
	o := ch.Options{
		Address: addr, Database: s.Database, User: s.User, Password: s.password, TLS: s.TLS,
		DialTimeout: s.DialTimeout, HandshakeTimeout: s.DialTimeout, ReadTimeout: ch.NoTimeout,
		Compression: ch.CompressionDisabled, ClientName: "pgwitness",
	}
	if s.Compress {
		o.Compression = ch.CompressionLZ4
	}
	for k, v := range s.settings {
		o.Settings = append(o.Settings, ch.Setting{Key: k, Value: fmt.Sprint(v), Important: true})
	}
	client, err := ch.Dial(ctx, o)
	if err != nil {
		return nil, err
	}
	info := client.ServerInfo()
	if err := s.accept(info.Major, info.Minor); err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return client, nil
}

// accept refuses servers that are older than what we support.
func (s Server) accept(major, minor int) error {
	if major > oldestMajor || major == oldestMajor && minor >= oldestMinor {
		return nil
	}
	return audit.WithHint(fmt.Errorf("ClickHouse %d.%d is too old", major, minor),
		fmt.Sprintf("upgrade ClickHouse to %d.%d or later", oldestMajor, oldestMinor))
}

// Redact is the DSN with its password replaced, for messages to an operator.
func Redact(dsn string) string {
	u, err := url.Parse(dsn)
	if err != nil || u.Host == "" {
		scheme, _, ok := strings.Cut(dsn, "://")
		if !ok {
			return "(unreadable DSN)"
		}
		return scheme + "://(unreadable)"
	}
	q := u.Query()
	if q.Has("password") {
		q.Set("password", "xxxxx")
		u.RawQuery = q.Encode()
	}
	return u.Redacted()
}
