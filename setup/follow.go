package setup

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Newcomer is a table that the configuration means and that nobody follows yet.
type Newcomer struct {
	Name string // in SQL
	Err  error  // why it is still not followed; nil: it is by now
}

// Follow takes up tables that came after setup, one attempt each, as far as the
// role of DSN may. It is for the sidecar, where there are no event triggers or
// one of them did not get a lock. Tables that somebody has worked on, so that
// only some of what setup installs is there, are left to setup. While a setup is
// at work there is nothing to do.
func Follow(ctx context.Context, cfg Config) ([]Newcomer, error) {
	conn, v, err := survey(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	var fresh []*table
	for _, t := range v.audited() {
		if !t.HasStamp && !t.HasTruncationStamp && !t.Member {
			fresh = append(fresh, t)
		}
	}
	if len(fresh) == 0 || v.publication == nil {
		return nil, nil
	}
	locked := false
	if err := conn.QueryRow(ctx, fmt.Sprintf("SELECT pg_catalog.pg_try_advisory_lock(%d)", int64(setupLock))).Scan(&locked); err != nil || !locked {
		return nil, err
	}
	if _, err := conn.Exec(ctx, settings("SET"), pgx.QueryExecModeSimpleProtocol); err != nil {
		return nil, fmt.Errorf("follow new tables: %w", err)
	}
	a := &applier{cfg: v.cfg, conn: conn}
	var list []Newcomer
	for _, t := range fresh {
		list = append(list, Newcomer{t.sql(), a.takeUp(ctx, v, t)})
	}
	return list, nil
}

// takeUp does what setup would do for one table.
func (a *applier) takeUp(ctx context.Context, v *view, t *table) error {
	if code := v.identityCode(t); t.holdsRows() && t.named() && !t.identifies(code) {
		return fmt.Errorf("%s has no usable key: published, it would refuse UPDATE and DELETE", t.subject())
	}
	p := &planner{view: v}
	p.planTable(t)
	p.announce()
	if p.err != nil {
		return p.err
	}
	for _, s := range p.steps {
		if err := a.attempt(ctx, s); err != nil {
			return fmt.Errorf("follow %s: %w", t.subject(), err)
		}
	}
	return nil
}

// AsShipped reports whether the function pgwitness.name is the one that this
// version of setup installs.
func AsShipped(ctx context.Context, tx pgx.Tx, cfg Config, name string) (bool, error) {
	if _, err := tx.Exec(ctx, settings("SET LOCAL"), pgx.QueryExecModeSimpleProtocol); err != nil {
		return false, fmt.Errorf("look at function %s: %w", name, err)
	}
	functions, err := many[function](ctx, tx, "check/functions.sql")
	if err != nil {
		return false, err
	}
	if whyFunction(name) == "" {
		return false, nil
	}
	state, err := (&view{cfg: cfg, functions: functions}).functionState(name)
	return err == nil && state == "", err
}
