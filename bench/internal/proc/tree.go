//go:build linux

package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
)

// stat is what is used here of /proc/PID/stat (proc_pid_stat(5)); times in ticks.
type stat struct {
	parent                               int
	user, system, childUser, childSystem int
}

// tree lists the processes of the set and all their descendants.
func (s *Set) tree() ([]int, error) {
	children, err := childrenByParent()
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, p := range s.processes() {
		pids = append(pids, p.cmd.Process.Pid)
	}
	for i := 0; i < len(pids); i++ {
		pids = append(pids, children[pids[i]]...)
	}
	return pids, nil
}

func childrenByParent() (map[int][]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	children := make(map[int][]int)
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue // not a process
		}
		st, err := readStat(pid)
		if errors.Is(err, os.ErrNotExist) {
			continue // ended since
		}
		if err != nil {
			return nil, err
		}
		children[st.parent] = append(children[st.parent], pid)
	}
	return children, nil
}

func readStat(pid int) (stat, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, syscall.ESRCH) {
		return stat{}, os.ErrNotExist
	}
	if err != nil {
		return stat{}, err
	}
	return parseStat(data)
}

// parseStat starts behind the last parenthesis: the name of a program may
// contain anything.
func parseStat(data []byte) (stat, error) {
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	if len(fields) < 15 {
		return stat{}, fmt.Errorf("stat: %d fields", len(fields))
	}
	var st stat
	for _, f := range []struct {
		index int
		into  *int
	}{
		{1, &st.parent},
		{11, &st.user},
		{12, &st.system},
		{13, &st.childUser},
		{14, &st.childSystem},
	} {
		n, err := strconv.Atoi(string(fields[f.index]))
		if err != nil {
			return stat{}, fmt.Errorf("stat: %w", err)
		}
		*f.into = n
	}
	return st, nil
}
