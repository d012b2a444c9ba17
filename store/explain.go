package store

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/pgwitness/pgwitness/audit"
)

// Error codes of ClickHouse that an operator or the sink must tell apart.
const (
	CodeNoSuchColumnInTable = 16
	CodeUnknownIdentifier   = 47
	CodeUnknownTable        = 60
	CodeUnknownDatabase     = 81
	CodeReadonly            = 164
	CodeUnknownUser         = 192
	CodeWrongPassword       = 193
	CodeQuotaExceeded       = 201
	CodeNotEnoughSpace      = 243
	CodeTooManyParts        = 252
	CodeTableIsReadOnly     = 242
	CodeQueryCancelled      = 394
	CodeAccessDenied        = 497
	CodeNoAccessStorage     = 514
	CodeAuthenticationFails = 516
)

// Code is the error code of ClickHouse in err, from either library; 0 when the
// server did not report one, as for a broken connection.
func Code(err error) int {
	if e, ok := ch.AsException(err); ok {
		return int(e.Code)
	}
	var e *clickhouse.Exception
	if errors.As(err, &e) {
		return int(e.Code)
	}
	return 0
}

// Explain attaches to an error of either library what the operator can do
// about it. Errors that carry a hint already, and unknown ones, stay as they
// are.
func (s Server) Explain(err error) error {
	if err == nil || audit.Hint(err) != "" {
		return err
	}
	if code := Code(err); code != 0 {
		return audit.WithHint(err, s.hint(code))
	}
	return audit.WithHint(err, s.networkHint(err))
}

func (s Server) hint(code int) string {
	switch code {
	case CodeAuthenticationFails, CodeUnknownUser, CodeWrongPassword:
		return fmt.Sprintf("check user and password of %s in the clickhouse DSN", or(s.User, "default"))
	case CodeUnknownDatabase, CodeUnknownTable:
		return "create the schema: pgwitness setup"
	case CodeNoSuchColumnInTable, CodeUnknownIdentifier:
		return "the schema differs from what this version of pgwitness expects: pgwitness check, then pgwitness setup"
	case CodeAccessDenied:
		return fmt.Sprintf("user %s lacks a grant: pgwitness setup creates the users and their grants; trail and verify need clickhouse.reader_dsn", or(s.User, "default"))
	case CodeReadonly, CodeTableIsReadOnly:
		return "the server or the user's profile is read-only: SELECT name, value FROM system.settings WHERE name = 'readonly'"
	case CodeNotEnoughSpace:
		return "free disk space on the ClickHouse server: SELECT name, formatReadableSize(free_space) FROM system.disks"
	case CodeTooManyParts:
		return "merges do not keep up with inserts: SELECT * FROM system.merges; see also system.parts"
	case CodeQuotaExceeded:
		return "the quota of the user is used up: SHOW QUOTA"
	}
	return ""
}

func (s Server) networkHint(err error) string {
	where := strings.Join(s.Addr, ", ")
	var dns *net.DNSError
	switch text := err.Error(); {
	case errors.As(err, &dns):
		return fmt.Sprintf("the host name of %s does not resolve: check the clickhouse DSN", where)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("nothing listens at %s: is ClickHouse running, and is this its native port (9000, not 8123)?", where)
	case strings.Contains(text, "first record does not look like a TLS handshake"):
		return fmt.Sprintf("%s does not speak TLS: leave ?secure=true out, or use the secure native port (9440)", where)
	case strings.Contains(text, "certificate"):
		return fmt.Sprintf("the certificate of %s is not trusted: install its authority, or name the host as the certificate does", where)
	case strings.Contains(text, "unexpected packet"), strings.Contains(text, "bad server packet"):
		return fmt.Sprintf("%s is not the native port of ClickHouse: use 9000, not the HTTP port 8123", where)
	case strings.Contains(text, "i/o timeout"), strings.Contains(text, "deadline exceeded"):
		return fmt.Sprintf("%s does not answer: check the address (the native port, 9000, not 8123), the firewall, and clickhouse.dial_timeout", where)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return fmt.Sprintf("%s closed the connection: is it the native port (9000), and does it want TLS (?secure=true)?", where)
	}
	return ""
}
