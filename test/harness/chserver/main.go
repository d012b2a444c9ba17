// Command chserver is the child process in which the tests run the ClickHouse engine. It stands in
// for `pgwitness engine serve-clickhouse`, so that a test of one room does not need the whole
// program. It never ships.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/pgwitness/pgwitness/engine"
)

func main() {
	config := flag.String("config", "", "configuration `file` of the engine")
	library := flag.String("library", "", "the engine's `file` libchdb.so")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := engine.ServeClickHouse(ctx, *config, *library); err != nil {
		fmt.Fprintln(os.Stderr, "chserver: error:", err)
		os.Exit(1)
	}
}
