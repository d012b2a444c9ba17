package demo

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgwitness/pgwitness/audit"
)

// Install makes the roles and the schema of the shop in the database of the
// DSN. Roles that are there get the passwords of the configuration; a schema
// that is there is left alone. A crash on the way leaves either no schema or
// the whole one.
func (s *Shop) Install(ctx context.Context) error {
	admin, err := s.connect(ctx, "", "shop-install")
	if err != nil {
		return err
	}
	defer admin.Close(ctx)
	for _, role := range Roles() {
		if err := s.installRole(ctx, admin, role); err != nil {
			return err
		}
	}
	if err := runFile(ctx, admin, "roles"); err != nil {
		return err
	}

	owner, err := s.connect(ctx, "shop_owner", "shop-migrate")
	if err != nil {
		return err
	}
	defer owner.Close(ctx)
	var there bool
	if err := owner.QueryRow(ctx, "SELECT to_regclass('public.orders') IS NOT NULL").Scan(&there); err != nil {
		return fmt.Errorf("look for the shop's schema: %w", err)
	}
	if there {
		return nil
	}
	return runFile(ctx, owner, "schema")
}

func (s *Shop) installRole(ctx context.Context, admin *pgx.Conn, role string) error {
	var there bool
	if err := admin.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", role).Scan(&there); err != nil {
		return fmt.Errorf("look for role %s: %w", role, err)
	}
	verb := "CREATE"
	if there {
		verb = "ALTER"
	}
	sql := verb + " ROLE " + pgx.Identifier{role}.Sanitize() + " LOGIN"
	if password, given := s.cfg.Passwords[role]; given {
		sql += " PASSWORD " + quote(password)
	}
	if _, err := admin.Exec(ctx, sql); err != nil {
		return fmt.Errorf("make role %s: %w", role, err)
	}
	return nil
}

// runFile sends a whole file as one simple query, which is one transaction.
func runFile(ctx context.Context, conn *pgx.Conn, file string) error {
	text, err := files.ReadFile("shop/" + file + ".sql")
	if err != nil {
		return fmt.Errorf("read shop/%s.sql: %w", file, err)
	}
	if _, err := conn.PgConn().Exec(ctx, string(text)).ReadAll(); err != nil {
		return fmt.Errorf("run shop/%s.sql: %w", file, err)
	}
	return nil
}

// Seed fills an empty shop, in one transaction of shop_owner; a shop that has
// products is left alone. What it inserted is counted in the Tally.
func (s *Shop) Seed(ctx context.Context) error {
	t, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer t.close()
	begun := time.Now()
	err = t.owner.transact(ctx, comment{}, func(w *work) error {
		recall, err := loadStatements("recall")
		if err != nil {
			return err
		}
		st, err := recall.get("seeded")
		if err != nil {
			return err
		}
		var there bool
		if _, err := w.query(ctx, st, nil, func(rows pgx.Rows) error { return rows.Scan(&there) }); err != nil || there {
			return err
		}
		return s.fill(ctx, w)
	})
	if sqlState(err) == "42P01" {
		err = audit.WithHint(err, "the shop has no schema yet: install it first")
	}
	if err != nil {
		return fmt.Errorf("seed the shop: %w", err)
	}
	s.log.Info().Dur("took", time.Since(begun)).Int64("rows", s.Tally().Changes.Total()).Msg("shop seeded")
	return nil
}

// fill sends the statements of seed.sql in the order of the file.
func (s *Shop) fill(ctx context.Context, w *work) error {
	var ids, emails, names, grantees, grants []string
	for _, m := range staff() {
		ids, emails, names = append(ids, m.id), append(emails, m.email), append(names, m.name)
		grantees, grants = append(grantees, m.id), append(grants, m.role)
	}
	arguments := map[string][]any{
		"users":         {ids, emails, names},
		"user_roles":    {grantees, grants},
		"products":      {s.cfg.Products},
		"inventory":     {s.cfg.Products},
		"customers":     {s.cfg.Customers},
		"next_customer": {s.cfg.Customers},
		"seed_lines":    {s.cfg.Orders, s.cfg.Products},
		"orders":        {s.cfg.Orders, s.cfg.Customers},
		"next_order":    {s.cfg.Orders},
		"receipts":      {s.cfg.Products, saturdayClerk},
	}
	for _, name := range w.program.sql.order {
		if _, err := w.exec(ctx, name, arguments[name]...); err != nil {
			return err
		}
	}
	return nil
}
