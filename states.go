package pgwitness

import (
	"slices"
	"strings"
	"sync"
)

// states is how each stream fares, for /readyz.
type states struct {
	mu      sync.Mutex
	streams map[string]streamState
}

type streamState struct {
	stream string
	ready  bool
	text   string
}

func (s *states) set(stream string, ready bool, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams == nil {
		s.streams = make(map[string]streamState)
	}
	s.streams[stream] = streamState{stream, ready, text}
}

// all returns the streams by name, and whether every one of them is ready.
func (s *states) all() (list []streamState, ready bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ready = len(s.streams) > 0
	for _, st := range s.streams {
		list = append(list, st)
		ready = ready && st.ready
	}
	slices.SortFunc(list, func(a, b streamState) int { return strings.Compare(a.stream, b.stream) })
	return list, ready
}
