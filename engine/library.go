//go:build !static

package engine

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"unsafe"

	"github.com/ebitengine/purego"
)

// loadEngine opens the library and returns its one entrance, which takes the command line of
// clickhouse-local and returns when the last query has ended.
func loadEngine(library string) (func(args ...string) error, error) {
	handle, err := purego.Dlopen(library, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("load clickhouse library: %w", err)
	}
	for _, symbol := range []string{"chdb_query_cmdline", "chdb_result_error"} {
		if _, err := purego.Dlsym(handle, symbol); err != nil {
			return nil, fmt.Errorf("load clickhouse library %s: %w", library, err)
		}
	}
	var query func(argc int32, argv unsafe.Pointer) uintptr
	var resultError func(result uintptr) string
	purego.RegisterLibFunc(&query, handle, "chdb_query_cmdline")
	purego.RegisterLibFunc(&resultError, handle, "chdb_result_error")
	return func(args ...string) error {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		argv := cStrings(args)
		result := query(int32(len(args)), unsafe.Pointer(&argv[0]))
		runtime.KeepAlive(argv)
		if result == 0 {
			return errors.New("the engine ended without a result")
		}
		return errors.New(strings.TrimSpace(resultError(result)))
	}, nil
}

// cStrings is argv as C has it: pointers to strings that end in a zero byte, then a nil pointer.
func cStrings(args []string) []*byte {
	argv := make([]*byte, len(args)+1)
	for i, arg := range args {
		argv[i] = &append([]byte(arg), 0)[0]
	}
	return argv
}
