package cgroup

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestTreeOf(t *testing.T) {
	const (
		pids    = "39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n"
		cpu     = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
		beside  = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
		unified = "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
		other   = "22 27 0:21 / /proc rw,relatime - proc proc rw\n"
	)
	for name, c := range map[string]struct {
		mountinfo, tracking string
		all                 []string
		unified, fails      bool
	}{
		"version 1":      {other + cpu + pids, "/sys/fs/cgroup/pids/cofferdam", []string{"/sys/fs/cgroup/cpu,cpuacct/cofferdam", "/sys/fs/cgroup/pids/cofferdam"}, false, false},
		"both":           {cpu + pids + beside, "/sys/fs/cgroup/pids/cofferdam", []string{"/sys/fs/cgroup/cpu,cpuacct/cofferdam", "/sys/fs/cgroup/pids/cofferdam", "/sys/fs/cgroup/unified/cofferdam"}, false, false},
		"version 2":      {other + unified, "/sys/fs/cgroup/cofferdam", []string{"/sys/fs/cgroup/cofferdam"}, true, false},
		"none":           {other, "", nil, false, true},
		"not understood": {"garbage\n - cgroup\n", "", nil, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			tree, err := treeOf(c.mountinfo)
			if (err != nil) != c.fails {
				t.Fatalf("error %v, want failure %v", err, c.fails)
			}
			if tree.tracking != c.tracking || tree.unified != c.unified || !slices.Equal(tree.all, c.all) {
				t.Errorf("got %+v", tree)
			}
		})
	}
}

func TestMembersAreThoseOfTheWholeTree(t *testing.T) {
	root := t.TempDir()
	for path, pids := range map[string]string{"own/cgroup.procs": "7\n", "own/deep/er/cgroup.procs": "1200\n30\n", "own/empty/cgroup.procs": "", "other/cgroup.procs": "99\n"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, path), []byte(pids), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	members, err := Tree{tracking: filepath.Join(root, "own")}.Members()
	if err != nil || !slices.Equal(members, []int{7, 30, 1200}) {
		t.Errorf("members %v, %v", members, err)
	}
	members, err = Tree{tracking: filepath.Join(root, "absent")}.Members()
	if err != nil || len(members) != 0 {
		t.Errorf("members of a tree that is not there: %v, %v", members, err)
	}
}

func TestOnlyPresentControllersAreEnabled(t *testing.T) {
	parent := t.TempDir()
	for name, content := range map[string]string{"cgroup.controllers": "cpu memory rdma pids\n", "cgroup.subtree_control": ""} {
		if err := os.WriteFile(filepath.Join(parent, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := enableControllers(parent); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(parent, "cgroup.subtree_control")); err != nil || string(got) != "+cpu +memory +pids" {
		t.Errorf("enabled %q, %v", got, err)
	}
	if err := enableControllers(filepath.Join(parent, "absent")); err == nil {
		t.Error("no error where there is no hierarchy")
	}
}
