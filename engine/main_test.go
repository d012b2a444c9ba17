package engine_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/pgwitness/pgwitness/engine"
	"github.com/pgwitness/pgwitness/test/harness"
)

// abandonVariable makes the test binary start engines and wait to be killed: the parent in the
// tests about a parent's death. Its value is the folder for the engines.
const abandonVariable = "PGWITNESS_TEST_ABANDON"

func TestMain(m *testing.M) {
	if dir := os.Getenv(abandonVariable); dir != "" {
		abandon(dir)
		return
	}
	harness.Main(m)
}

// abandon prints the process ids of two engines and then does nothing more.
func abandon(dir string) {
	pg := engine.NewPostgres(engine.PostgresConfig{
		BinDir: os.Getenv("PGWITNESS_TEST_BIN"), Dir: dir + "/pg", Settings: map[string]string{"fsync": "off"},
	})
	ch := engine.NewClickHouse(engine.ClickHouseConfig{
		Library: os.Getenv("PGWITNESS_TEST_LIBRARY"), Dir: dir + "/ch",
		Executable: []string{os.Getenv("PGWITNESS_TEST_CHSERVER")},
	})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, start := range []func(context.Context) error{pg.Start, ch.Start} {
		if err := start(ctx); err != nil {
			fmt.Println("error:", err)
			return
		}
	}
	fmt.Println(pg.PID(), ch.PID())
	time.Sleep(time.Hour)
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
