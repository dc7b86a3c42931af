// Package cgroup keeps all of the cluster's processes, and their descendants, under one directory of the cgroup
// tree: so that `down` finds each of them, whoever started it and whatever it is called.
package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"cofferdam.dev/tests/cluster/internal/layout"
)

// Tree is the cluster's directory in every mounted hierarchy.
type Tree struct {
	// tracking is the one whose membership says what is ours.
	tracking string
	all      []string
	unified  bool
}

// Find reads which hierarchies this machine has; it makes nothing.
func Find() (Tree, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return Tree{}, err
	}
	return treeOf(string(text))
}

// treeOf prefers version 1's hierarchies where they carry controllers, as runc and the kubelet do.
func treeOf(mountinfo string) (Tree, error) {
	controllers := map[string]string{}
	var mounts []string
	var unified string
	for line := range strings.Lines(mountinfo) {
		before, after, found := strings.Cut(strings.TrimSpace(line), " - ")
		fields, kinds := strings.Fields(before), strings.Fields(after)
		if !found || len(fields) < 5 || len(kinds) < 3 {
			continue
		}
		switch kinds[0] {
		case "cgroup":
			mounts = append(mounts, fields[4])
			for option := range strings.SplitSeq(kinds[2], ",") {
				controllers[option] = fields[4]
			}
		case "cgroup2":
			unified = fields[4]
		}
	}
	for _, controller := range []string{"pids", "freezer"} {
		if mount, found := controllers[controller]; found {
			tree := Tree{tracking: filepath.Join(mount, layout.CgroupName)}
			for _, mount := range mounts {
				tree.all = append(tree.all, filepath.Join(mount, layout.CgroupName))
			}
			// Where version 2 is mounted beside, runc puts containers into it as well.
			if unified != "" {
				tree.all = append(tree.all, filepath.Join(unified, layout.CgroupName))
			}
			return tree, nil
		}
	}
	if unified == "" {
		return Tree{}, errors.New("no cgroup hierarchy is mounted; the kubelet needs one")
	}
	own := filepath.Join(unified, layout.CgroupName)
	return Tree{tracking: own, all: []string{own}, unified: true}, nil
}

// Node is the directory that the cluster's own processes join.
func (t Tree) Node() string { return filepath.Join(t.tracking, "node") }

// Create makes the directories.
func (t Tree) Create() error {
	for _, dir := range t.all {
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make cgroup: %w", err)
		}
		if err := inheritCPUs(dir); err != nil {
			return err
		}
	}
	if t.unified {
		if err := enableControllers(filepath.Dir(t.tracking)); err != nil {
			return err
		}
	}
	if err := os.Mkdir(t.Node(), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make cgroup: %w", err)
	}
	return nil
}

// enableControllers hands those controllers down that the kubelet asks for and this machine has.
func enableControllers(parent string) error {
	present, err := os.ReadFile(filepath.Join(parent, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("read cgroup controllers: %w", err)
	}
	var wanted []string
	for controller := range strings.FieldsSeq(string(present)) {
		if slices.Contains([]string{"cpuset", "cpu", "io", "memory", "pids", "hugetlb"}, controller) {
			wanted = append(wanted, "+"+controller)
		}
	}
	if err := os.WriteFile(filepath.Join(parent, "cgroup.subtree_control"), []byte(strings.Join(wanted, " ")), 0); err != nil {
		return fmt.Errorf("enable cgroup controllers %v: %w", wanted, err)
	}
	return nil
}

// inheritCPUs fills the two files without which a version 1 cpuset takes no process.
func inheritCPUs(dir string) error {
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		own := filepath.Join(dir, name)
		current, err := os.ReadFile(own)
		if err != nil || strings.TrimSpace(string(current)) != "" {
			continue
		}
		above, err := os.ReadFile(filepath.Join(filepath.Dir(dir), name))
		if err != nil {
			return fmt.Errorf("read cpuset: %w", err)
		}
		if err := os.WriteFile(own, above, 0); err != nil {
			return fmt.Errorf("fill cpuset: %w", err)
		}
	}
	return nil
}

// Members lists the processes in the cluster's tree.
func (t Tree) Members() ([]int, error) {
	var members []int
	err := filepath.WalkDir(t.tracking, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !entry.IsDir() {
			return err
		}
		pids, err := readPIDs(filepath.Join(path, "cgroup.procs"))
		members = append(members, pids...)
		return err
	})
	slices.Sort(members)
	return members, err
}

func readPIDs(path string) ([]int, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var pids []int
	for field := range strings.FieldsSeq(string(text)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// Kill ends every member and waits until none is left. A process made meanwhile is a member too, hence the loop.
func (t Tree) Kill(limit time.Duration) error {
	for deadline := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		members, err := t.Members()
		if err != nil || len(members) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v do not end", members)
		}
		for _, pid := range members {
			if err := t.killMember(pid); err != nil {
				return err
			}
		}
	}
}

// killMember takes a handle, looks again whether the process is a member, and only then kills by the handle:
// a pid that changed hands in between is left alone.
func (t Tree) killMember(pid int) error {
	handle, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("pidfd of %d: %w", pid, err)
	}
	defer unix.Close(handle)
	members, err := t.Members()
	if err != nil || !slices.Contains(members, pid) {
		return err
	}
	if err := unix.PidfdSendSignal(handle, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill %d: %w", pid, err)
	}
	return nil
}

// Remove deletes the directories, deepest first. The kernel lets go of one a moment after its last process.
func (t Tree) Remove(limit time.Duration) error {
	deadline := time.Now().Add(limit)
	for _, dir := range t.all {
		for {
			err := removeTree(dir)
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("remove cgroup: %w", err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return nil
}

func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := removeTree(filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("%s: %w", dir, err)
	}
	return nil
}

// Remains lists the directories that exist: none after `down`.
func (t Tree) Remains() []string {
	var remains []string
	for _, dir := range t.all {
		if _, err := os.Stat(dir); err == nil {
			remains = append(remains, dir)
		}
	}
	return remains
}
