// Command loop drains a replication slot the way a small client of pglogrepl
// does: receive, parse, throw away. It is one of the peers of `make
// bench-pipeline`. It never decodes values, keeps nothing, and acknowledges as
// it goes.
//
//	loop DSN SLOT PUBLICATION CHANGES
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "loop:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 4 {
		return fmt.Errorf("%d arguments, want DSN, slot, publication and number of changes", len(args))
	}
	n, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	cfg, err := pgconn.ParseConfig(args[0])
	if err != nil {
		return err
	}
	cfg.RuntimeParams["replication"] = "database"
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	options := []string{"proto_version '1'", "publication_names '" + args[2] + "'", "messages 'true'"}
	if err := pglogrepl.StartReplication(ctx, conn, args[1], 0, pglogrepl.StartReplicationOptions{PluginArgs: options}); err != nil {
		return err
	}
	return drain(ctx, conn, n)
}

// drain reads until n rows were changed.
func drain(ctx context.Context, conn *pgconn.PgConn, n int) error {
	var end pglogrepl.LSN
	due := time.Now()
	for n > 0 {
		if time.Now().After(due) {
			if err := pglogrepl.SendStandbyStatusUpdate(ctx, conn, pglogrepl.StandbyStatusUpdate{WALWritePosition: end}); err != nil {
				return err
			}
			due = time.Now().Add(time.Second)
		}
		received, err := conn.ReceiveMessage(ctx)
		if err != nil {
			return err
		}
		data, ok := received.(*pgproto3.CopyData)
		if !ok || data.Data[0] != pglogrepl.XLogDataByteID {
			continue
		}
		xld, err := pglogrepl.ParseXLogData(data.Data[1:])
		if err != nil {
			return err
		}
		message, err := pglogrepl.Parse(xld.WALData)
		if err != nil {
			return err
		}
		switch m := message.(type) {
		case *pglogrepl.InsertMessage, *pglogrepl.UpdateMessage, *pglogrepl.DeleteMessage:
			n--
		case *pglogrepl.CommitMessage:
			end = m.TransactionEndLSN
		}
	}
	return nil
}
