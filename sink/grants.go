package sink

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/sql"
	"github.com/pgwitness/pgwitness/store"
)

// The roles that sql/clickhouse/users.sql makes, and the users of the embedded
// engine who have their grants.
const (
	Writer = "pgwitness_sink"
	Reader = "pgwitness_reader"
	Vault  = "pgwitness_vault" // who reads personal values as well
)

// AccessStatements are the statements of sql/clickhouse/users.sql for this
// database, in order, without comments.
func AccessStatements(database string) []string {
	var bare strings.Builder
	for line := range strings.Lines(sql.ClickHouseAccess) {
		if !strings.HasPrefix(line, "--") {
			bare.WriteString(line)
		}
	}
	var statements []string
	for s := range strings.SplitSeq(bare.String(), ";") {
		if s = strings.TrimSpace(s); s != "" {
			statements = append(statements, strings.Replace(s, " ON pgwitness.", " ON "+database+".", 1))
		}
	}
	return statements
}

// Grants are the grants of Writer, Reader and Vault as the users file of the
// embedded engine wants them: without their receiver.
func Grants(database string) map[string][]string {
	grants := map[string][]string{}
	for _, s := range AccessStatements(database) {
		verb, _, _ := strings.Cut(s, " ")
		for _, separator := range []string{" TO ", " FROM "} {
			if grant, receiver, ok := strings.Cut(s, separator); ok && (verb == "GRANT" || verb == "REVOKE") {
				grants[receiver] = append(grants[receiver], grant)
			}
		}
	}
	return grants
}

// Closed are the tables of which one who has the grants of user sees no rows: what
// the row policies of sql/clickhouse/users.sql say.
func Closed(user string) []string {
	if user == Vault {
		return nil
	}
	return []string{"openings"}
}

// Grant makes the roles, and the users that the DSNs of cfg name, with the
// passwords given there, where they do not exist. The user of the admin DSN is
// left as he is. It is for servers with SQL access control; repeating it
// changes nothing.
func Grant(ctx context.Context, cfg store.Config) error {
	admin, err := cfg.Admin()
	if err != nil {
		return fmt.Errorf("clickhouse.admin_dsn: %w", err)
	}
	statements := AccessStatements(cfg.Database)
	for _, u := range []struct {
		role   string
		server func() (store.Server, error)
	}{{Writer, cfg.Writer}, {Reader, cfg.Reader}, {Vault, cfg.Vault}} {
		server, err := u.server()
		if err != nil {
			return fmt.Errorf("clickhouse DSN of %s: %w", u.role, err)
		}
		if u.role == Vault && cfg.VaultDSN == "" {
			continue // nobody was named
		}
		if server.User != admin.User {
			statements = append(statements, createUser(server, u.role)...)
		}
	}
	conn, err := admin.Open(ctx)
	if err != nil {
		return err
	}
	for _, s := range statements {
		if err := conn.Exec(ctx, s); err != nil {
			return errors.Join(explainGrant(admin, s, err), conn.Close())
		}
	}
	return conn.Close()
}

// createUser sends the hash of the password, so that the password itself is in
// no statement.
func createUser(server store.Server, role string) []string {
	user, password := server.Credentials()
	name := "`" + strings.NewReplacer("\\", "\\\\", "`", "\\`").Replace(user) + "`"
	return []string{
		fmt.Sprintf("CREATE USER IF NOT EXISTS %s IDENTIFIED WITH sha256_hash BY '%x'", name, sha256.Sum256([]byte(password))),
		fmt.Sprintf("GRANT %s TO %s", role, name),
	}
}

func explainGrant(admin store.Server, statement string, err error) error {
	verb, _, _ := strings.Cut(statement, " IDENTIFIED") // the rest is a hash of the password
	err = fmt.Errorf("set up access: %s: %w", verb, err)
	switch store.Code(err) {
	case store.CodeAccessDenied, store.CodeNoAccessStorage:
		return audit.WithHint(err, fmt.Sprintf(
			"user %s may not manage access: set clickhouse.admin_dsn to one who may, or run the statements of pgwitness setup --print-sql as one", admin.User))
	}
	return admin.Explain(err)
}
