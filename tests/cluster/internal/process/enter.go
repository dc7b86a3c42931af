package process

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"cofferdam.dev/tests/cluster/internal/layout"
)

// EnterCommand is the hidden subcommand that turns itself into another program inside the node.
const EnterCommand = "_enter"

// Place is where a process runs.
type Place struct {
	// Network is a network namespace's file; empty for the caller's own.
	Network string
	// Mounts is a mount namespace's file; empty for the caller's own.
	Mounts string
	// NewMounts, a directory, asks for a new mount namespace in which what programs write under /run, /var/lib and
	// /var/log goes there instead of to the machine.
	NewMounts string
	// Cgroup is the directory whose cgroup.procs is joined; empty to stay.
	Cgroup string
	// Directory is the working directory; empty for the root.
	Directory string
}

// arguments are those with which EnterCommand goes to the place and becomes the command. If report is not 0, it is
// the file descriptor that takes the error if that fails, and is closed by the exec if it does not.
func (p Place) arguments(report int, command []string) []string {
	return append([]string{
		EnterCommand, "-report", strconv.Itoa(report), "-network", p.Network, "-mounts", p.Mounts, "-new-mounts", p.NewMounts,
		"-cgroup", p.Cgroup, "-directory", p.Directory, "--",
	}, command...)
}

// Enter is EnterCommand: it moves this process to the place and replaces it by the command. It returns only on error.
func Enter(arguments []string) error {
	var place Place
	var report int
	flags := flag.NewFlagSet(EnterCommand, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.IntVar(&report, "report", 0, "")
	flags.StringVar(&place.Network, "network", "", "")
	flags.StringVar(&place.Mounts, "mounts", "", "")
	flags.StringVar(&place.NewMounts, "new-mounts", "", "")
	flags.StringVar(&place.Cgroup, "cgroup", "", "")
	flags.StringVar(&place.Directory, "directory", "/", "")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if report == 0 {
		return place.become(flags.Args())
	}
	// A process that stays must not hold what its starter happened to have open: another's lock, a pipe's end.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("close inherited files: %w", err)
	}
	err := place.become(flags.Args())
	_, reported := unix.Write(report, []byte(err.Error()))
	return errors.Join(err, reported)
}

// become moves to the place and execs the command; it returns only on error.
func (p Place) become(command []string) error {
	if len(command) == 0 {
		return errors.New("no command to run")
	}
	program, err := exec.LookPath(command[0])
	if err != nil {
		return err
	}
	// Namespaces belong to a thread; the one that is moved here is the one that execs.
	runtime.LockOSThread()
	if err := p.move(); err != nil {
		return err
	}
	return fmt.Errorf("exec %s: %w", program, syscall.Exec(program, command, os.Environ()))
}

func (p Place) move() error {
	if p.Cgroup != "" {
		own := []byte(strconv.Itoa(os.Getpid()))
		if err := os.WriteFile(filepath.Join(p.Cgroup, "cgroup.procs"), own, 0); err != nil {
			return fmt.Errorf("join cgroup: %w", err)
		}
	}
	// Opened before the mounts change: the new ones cover /run, where the network namespace's file is.
	network, err := openNamespace(p.Network)
	if err != nil {
		return err
	}
	mounts, err := openNamespace(p.Mounts)
	if err != nil {
		return err
	}
	if mounts >= 0 {
		// A thread that shares its root and working directory with others may not change mounts.
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("unshare root and working directory: %w", err)
		}
		if err := unix.Setns(mounts, unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("enter mounts %s: %w", p.Mounts, err)
		}
	}
	if p.NewMounts != "" {
		if err := privateMounts(p.NewMounts); err != nil {
			return err
		}
	}
	if network >= 0 {
		if err := unix.Setns(network, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network %s: %w", p.Network, err)
		}
	}
	if p.Directory == "" {
		p.Directory = "/"
	}
	return os.Chdir(p.Directory)
}

// openNamespace gives -1 for no namespace. The handle closes itself on exec.
func openNamespace(path string) (int, error) {
	if path == "" {
		return -1, nil
	}
	handle, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open namespace %s: %w", path, err)
	}
	return handle, nil
}

// privateMounts makes a mount namespace of its own and diverts the places where the components insist on writing
// (runc's and the shims' state, CNI's leases, pod logs' links). All of it, and every mount that the kubelet or
// containerd makes, is gone with the last process inside.
func privateMounts(dir string) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("new mount namespace: %w", err)
	}
	// Slave: nothing travels to the machine. Shared again: volumes may still propagate between the node's own mounts.
	for _, flags := range []uintptr{unix.MS_REC | unix.MS_SLAVE, unix.MS_REC | unix.MS_SHARED} {
		if err := unix.Mount("none", "/", "", flags, ""); err != nil {
			return fmt.Errorf("mount propagation: %w", err)
		}
	}
	for _, covered := range []string{"/var/lib", "/var/log"} {
		upper := filepath.Join(dir, filepath.Base(covered))
		work := upper + ".work"
		for _, made := range []string{upper, work} {
			if err := os.MkdirAll(made, 0o755); err != nil {
				return err
			}
		}
		options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", covered, upper, work)
		if err := unix.Mount("overlay", covered, "overlay", 0, options); err != nil {
			return fmt.Errorf("overlay over %s: %w", covered, err)
		}
	}
	return coverRun()
}

// coverRun puts an empty file system over /run, in which of all that was there only the cluster's own network
// namespaces are found again: the forwarder enters one by its file.
func coverRun() error {
	names := []string{layout.NodeNamespace, layout.InternetNamespace}
	handles := map[string]int{}
	for _, name := range names {
		handle, err := openNamespace(layout.NetworkNamespace(name))
		if err != nil {
			return err
		}
		handles[name] = handle
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("tmpfs over /run: %w", err)
	}
	if err := os.Mkdir(layout.NetworkNamespaces, 0o755); err != nil {
		return err
	}
	for _, name := range names {
		file := layout.NetworkNamespace(name)
		if err := os.WriteFile(file, nil, 0o444); err != nil {
			return err
		}
		if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", handles[name]), file, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("keep network namespace %s: %w", name, err)
		}
	}
	return nil
}
