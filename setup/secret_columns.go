package setup

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/pgwitness/pgwitness/audit"
)

// MissingColumnError says that a secret column which the configuration names
// does not exist: probably another one is meant, whose values would enter the
// trail for good.
type MissingColumnError struct {
	Index  int // in Config.Tables
	Table  string
	Column string
}

func (e *MissingColumnError) Error() string {
	return fmt.Sprintf("plan setup: the table %s has no column %s", e.Table, e.Column)
}

// Hint is what the operator can do.
func (e *MissingColumnError) Hint() string {
	return "correct the name under secret: names are case-sensitive. What has entered the trail cannot be taken out again"
}

// missingSecret is the first secret column that its table does not have, nil
// when there is none. A table that does not exist is reported by itself.
func (v *view) missingSecret(ctx context.Context, tx pgx.Tx) (*MissingColumnError, error) {
	for i, t := range v.cfg.Tables {
		for _, column := range t.Secret {
			p, err := parsePattern(t.Name)
			if err != nil {
				return nil, err
			}
			found, err := one[struct {
				Exists bool `db:"exists"`
			}](ctx, tx, "check/column.sql", p.schema, p.name, column)
			if err != nil {
				return nil, err
			}
			if found != nil && !found.Exists {
				return &MissingColumnError{Index: i, Table: t.Name, Column: column}, nil
			}
		}
	}
	return nil, nil
}

// checkSecrets reports that column, and how many there are otherwise.
func (c *checker) checkSecrets() {
	if e := c.noSecret; e != nil {
		c.add(audit.Failure, "secret_columns", e.Table, fmt.Sprintf("the table has no column %s: the values of the one that is meant enter the trail", e.Column), e.Hint())
		return
	}
	n := 0
	for _, t := range c.cfg.Tables {
		n += len(t.Secret)
	}
	if n > 0 {
		c.add(audit.OK, "secret_columns", "", fmt.Sprintf("the values of %d columns stay out of the trail", n), "")
	}
}
