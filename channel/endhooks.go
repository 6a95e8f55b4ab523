package channel

import "sync"

// endHooks is what flows want called when their session has ended.
type endHooks struct {
	mu    sync.Mutex
	taken bool
	of    map[*Flow]func()
}

// hookList is what is left to call.
type hookList map[*Flow]func()

// call leaves out flows that have ended well, whatever of them their users still have to do.
func (l hookList) call() {
	for f, do := range l {
		if !f.is(flowClean) {
			do()
		}
	}
}

// set has do called for f, at once if the session has ended. Nil takes that back.
func (h *endHooks) set(f *Flow, do func()) {
	h.mu.Lock()
	taken := h.taken
	switch {
	case taken:
	case do == nil:
		delete(h.of, f)
	default:
		if h.of == nil {
			h.of = make(map[*Flow]func())
		}
		h.of[f] = do
	}
	h.mu.Unlock()
	if taken && do != nil {
		do()
	}
}

func (h *endHooks) isTaken() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.taken
}

// take returns all that is to be called. From now on set calls at once.
func (h *endHooks) take() hookList {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := hookList(h.of)
	h.of, h.taken = nil, true
	return list
}

// takeHooks returns what is to be called now that the session has ended. Flows that may go on
// without it are suspended, and are not to be told.
func (s *Session) takeHooks() hookList {
	lasting := s.endpoint.flows.of(s)
	if s.isLost() {
		for _, f := range lasting {
			f.lostWith(s)
		}
	}
	list := s.hooks.take()
	if s.isLost() {
		return list
	}
	for _, f := range lasting {
		f.lasting.finish()
		f.tidy() // whether or not its user closes it
		if !f.isOpen() {
			continue
		}
		if do := f.lasting.takeHook(); do != nil {
			if list == nil {
				list = make(hookList)
			}
			list[f] = do
		}
	}
	return list
}
