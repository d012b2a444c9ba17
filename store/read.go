package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"

	"github.com/pgwitness/pgwitness/audit"
)

// Select is a SELECT of whole entries from the trail: where is a condition with
// {name:Type} parameters ("" is all), tail what follows it (ORDER BY, LIMIT,
// SETTINGS).
func Select(where, tail string) string {
	q := "SELECT " + SelectList() + " FROM audit_logs"
	if where != "" {
		q += " WHERE " + where
	}
	return q + " " + tail
}

// SelectListed is Select for people: id, position in the log, salt and seal are
// zero. What is left is what the projections of audit_logs hold, in the orders
// in which people ask (sql/clickhouse/migrations/0010_questions.sql).
func SelectListed(where, tail string) string {
	columns := strings.Split(SelectList(), ", ")
	for i, name := range columns {
		if nothing := unlisted(name); nothing != "" {
			columns[i] = nothing + " AS " + name
		}
	}
	return strings.Replace(Select(where, tail), SelectList(), strings.Join(columns, ", "), 1)
}

// Listed names the columns that SelectListed reads.
func Listed() []string {
	return slices.DeleteFunc(strings.Split(SelectList(), ", "), func(name string) bool { return unlisted(name) != "" })
}

// unlisted is what SelectListed has in the place of a column; "" for a column
// that it reads.
func unlisted(name string) string {
	switch name {
	case "id":
		return "toUUID('00000000-0000-0000-0000-000000000000')"
	case "xid", "ordinal":
		return "toUInt32(0)"
	case "commit_lsn":
		return "toUInt64(0)"
	case "salt":
		return "toFixedString('', 16)"
	case "seal":
		return "toFixedString('', 64)"
	}
	return ""
}

// Param is the value of {name:Type} in a query. The server reads it as the
// text form of that type, so no value can end the statement.
func Param(name string, value any) proto.Parameter {
	text := fmt.Sprint(value)
	// Two readers unescape it: that of settings (quotes), then that of the
	// type (tab-separated text).
	text = strings.NewReplacer(`\`, `\\`, "\t", `\t`, "\n", `\n`, "\r", `\r`, "\x00", `\0`).Replace(text)
	text = strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text)
	return proto.Parameter{Key: name, Value: "'" + text + "'"}
}

// Blocks runs a query whose columns are SelectList and calls use with each
// block of the result, in order, on the caller's goroutine. The block is valid
// during the call; memory is that of one block. An error of use ends the query
// and is returned as it is.
//
// When it returns an error, client is closed, unless the server itself refused
// the query.
func Blocks(ctx context.Context, client *ch.Client, query string, use func(*Columns) error, params ...proto.Parameter) error {
	columns := NewColumns()
	return Receive(ctx, client, ch.Query{Body: query, Parameters: params, Result: columns.Results()}, func() error {
		return use(columns)
	})
}

// Do runs q. Unlike client.Do alone it returns at once when ctx ends, even if
// the server has gone silent: it closes client, and the server then gives the
// query up.
func Do(ctx context.Context, client *ch.Client, q ch.Query) error {
	stop := context.AfterFunc(ctx, func() {
		_ = client.Close() // whoever waits for it gets an error
	})
	defer stop()
	err := client.Do(ctx, q)
	if err != nil && ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return err
}

// Receive runs any query and calls use for each block that q.Result has
// received, on the caller's goroutine; the rules are those of Blocks.
func Receive(ctx context.Context, client *ch.Client, q ch.Query, use func() error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	received, used := make(chan struct{}), make(chan struct{})
	q.OnResult = func(ctx context.Context, b proto.Block) error {
		if b.Rows == 0 {
			return nil
		}
		// The columns belong to use from the first send to the second.
		select {
		case received <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case <-used:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	done := make(chan error, 1)
	go func() { done <- Do(ctx, client, q) }()
	for {
		select {
		case err := <-done:
			return Server{}.Explain(err)
		case <-received:
		}
		if err := use(); err != nil {
			cancel()
			<-done // nobody writes to the columns any more
			return err
		}
		select {
		case used <- struct{}{}:
		case err := <-done:
			return Server{}.Explain(err)
		}
	}
}

// errStopped ends a query whose consumer has seen enough.
var errStopped = errors.New("stopped")

// Entries runs a query whose columns are SelectList and yields its entries, in
// order. The entry is one and the same, refilled: Clone keeps it. An error is
// the last thing yielded, with a nil entry. Breaking out of the loop closes
// client.
func Entries(ctx context.Context, client *ch.Client, query string, params ...proto.Parameter) iter.Seq2[*audit.Entry, error] {
	return func(yield func(*audit.Entry, error) bool) {
		var e audit.Entry
		err := Blocks(ctx, client, query, func(c *Columns) error {
			for i := range c.Rows() {
				c.Row(i, &e)
				if !yield(&e, nil) {
					return errStopped
				}
			}
			return nil
		}, params...)
		if err != nil && !errors.Is(err, errStopped) {
			yield(nil, fmt.Errorf("read audit_logs: %w", err))
		}
	}
}

// Clone is a copy of e that owns its memory.
func Clone(e *audit.Entry) audit.Entry {
	out := *e
	out.Changed = append([]string(nil), e.Changed...)
	for _, t := range []*audit.Text{
		&out.ActorID, &out.ActorEmail, &out.ActorRole, &out.ActorType,
		&out.ResourceType, &out.ResourceID, &out.Action, &out.OldValues, &out.NewValues,
		&out.Source, &out.IPAddress, &out.UserAgent, &out.GeoCountry, &out.GeoCity, &out.GeoLat, &out.GeoLon,
		&out.ReasonCode, &out.ReasonNote,
		&out.Attribution, &out.RequestID, &out.TraceID, &out.APIKeyID, &out.DBUser, &out.ApplicationName,
		&out.SchemaName, &out.TableName, &out.Operation,
	} {
		if *t != nil {
			*t = append(make(audit.Text, 0, len(*t)), *t...)
		}
	}
	return out
}
