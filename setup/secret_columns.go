package setup

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/pgwitness/pgwitness/audit"
)

// MissingColumnError says that a secret or personal column which the
// configuration names does not exist: probably another one is meant, whose
// values would enter the trail for good.
type MissingColumnError struct {
	Index  int    // in Config.Tables
	Key    string // secret or personal
	Table  string
	Column string
}

func (e *MissingColumnError) Error() string {
	return fmt.Sprintf("plan setup: the table %s has no column %s", e.Table, e.Column)
}

// Hint is what the operator can do.
func (e *MissingColumnError) Hint() string {
	return "correct the name under " + e.Key + ": names are case-sensitive. What has entered the trail cannot be taken out again"
}

// missingColumn is the first secret or personal column that its table does not
// have, nil when there is none. A table that does not exist is reported by
// itself.
func (v *view) missingColumn(ctx context.Context, tx pgx.Tx) (*MissingColumnError, error) {
	for i, t := range v.cfg.Tables {
		for _, named := range []struct {
			key     string
			columns []string
		}{{"secret", t.Secret}, {"personal", t.Personal}} {
			column, err := missingOf(ctx, tx, t.Name, named.columns)
			if err != nil {
				return nil, err
			}
			if column != "" {
				return &MissingColumnError{Index: i, Key: named.key, Table: t.Name, Column: column}, nil
			}
		}
	}
	return nil, nil
}

// missingOf is the first of columns that a table does not have; "" is none.
func missingOf(ctx context.Context, tx pgx.Tx, table string, columns []string) (string, error) {
	for _, column := range columns {
		p, err := parsePattern(table)
		if err != nil {
			return "", err
		}
		found, err := one[struct {
			Exists bool `db:"exists"`
		}](ctx, tx, "check/column.sql", p.schema, p.name, column)
		if err != nil {
			return "", err
		}
		if found != nil && !found.Exists {
			return column, nil
		}
	}
	return "", nil
}

// checkSecrets reports that column, and how many there are otherwise.
func (c *checker) checkSecrets() {
	if e := c.noColumn; e != nil {
		what := fmt.Sprintf("the table has no column %s: the values of the one that is meant enter the trail", e.Column)
		if e.Key == "personal" {
			what = fmt.Sprintf("the table has no column %s: the values of the one that is meant enter the trail as they are, or nobody knows whose they are", e.Column)
		}
		c.add(audit.Failure, e.Key+"_columns", e.Table, what, e.Hint())
		return
	}
	secret, personal := 0, 0
	for _, t := range c.cfg.Tables {
		secret, personal = secret+len(t.Secret), personal+len(t.Personal)
	}
	if secret > 0 {
		c.add(audit.OK, "secret_columns", "", fmt.Sprintf("the values of %d columns stay out of the trail", secret), "")
	}
	if personal > 0 {
		c.add(audit.OK, "personal_columns", "", fmt.Sprintf("all %d columns exist that hold personal values or say whose they are", personal), "")
	}
}
