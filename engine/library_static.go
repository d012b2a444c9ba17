//go:build static

package engine

import (
	"errors"

	"github.com/pgwitness/pgwitness/audit"
)

// loadEngine fails: purego needs the dynamic loader, which a static executable, as in the container
// image, does not have.
func loadEngine(string) (func(args ...string) error, error) {
	return nil, audit.WithHint(errors.New("load clickhouse library: this is a static build, without the embedded engine"),
		"name a ClickHouse server in clickhouse.dsn")
}
