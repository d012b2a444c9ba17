package harness

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
)

// Places writes a small MaxMind-format database of type Test-City, made on 2026-09-21, in which each
// network has the given record. It needs no servers.
func Places(t testing.TB, records map[string]mmdbtype.Map) string {
	t.Helper()
	made := time.Date(2026, 9, 21, 12, 0, 0, 0, time.UTC)
	tree, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: "Test-City", BuildEpoch: made.Unix(), IncludeReservedNetworks: true})
	check(t, "make a database of places", err)
	for network, record := range records {
		_, n, err := net.ParseCIDR(network)
		check(t, "make a database of places", err)
		check(t, "make a database of places", tree.Insert(n, record))
	}
	path := filepath.Join(t.TempDir(), "places.mmdb")
	file, err := os.Create(path)
	check(t, "write a database of places", err)
	_, err = tree.WriteTo(file)
	check(t, "write a database of places", err)
	check(t, "write a database of places", file.Close())
	return path
}
