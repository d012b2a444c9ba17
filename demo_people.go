package pgwitness

import (
	"context"
	"fmt"

	"github.com/pgwitness/pgwitness/store"
)

// people shows what the trail says of a customer: to an analyst, and to somebody
// who may see personal values.
func (d *demoRun) people(ctx context.Context) error {
	const query = "SELECT resource_id, JSONExtractString(new_values, 'email'), JSONExtractString(new_values, 'full_name') " +
		"FROM audit_trail WHERE resource_type = 'customer' AND action = 'create' ORDER BY sequence DESC LIMIT 2"
	d.say("Who are the newest customers?   clickhouse> %s", query)
	c := d.witness.cfg.ClickHouse
	for _, reader := range []struct{ who, dsn string }{{"the analyst", c.ReaderDSN}, {"who may read the vault", c.VaultDSN}} {
		fmt.Fprintf(d.out, "\n  %s sees\n", reader.who)
		if err := d.showPeople(ctx, reader.dsn, query); err != nil {
			return fmt.Errorf("show customers: %w", err)
		}
	}
	return nil
}

func (d *demoRun) showPeople(ctx context.Context, dsn, query string) error {
	conn, err := store.Open(ctx, dsn, d.witness.cfg.ClickHouse.Database)
	if err != nil {
		return err
	}
	defer conn.Close()
	rows, err := conn.Query(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id, email, name *string
		if err := rows.Scan(&id, &email, &name); err != nil {
			return err
		}
		fmt.Fprintf(d.out, "    %-6s %-36s %s\n", orNull(id), short(orNull(email)), short(orNull(name)))
	}
	return rows.Err()
}

// short is a token as far as one has to see it.
func short(text string) string {
	const shown = 24
	if len(text) <= shown+12 {
		return text
	}
	return text[:shown] + "…"
}
