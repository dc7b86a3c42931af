package process

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// InNetwork calls work on a thread that is in the given network namespace. The thread is not used again: the
// runtime ends it together with the goroutine that locked it.
func InNetwork(namespace string, work func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		handle, err := openNamespace(namespace)
		if err != nil {
			result <- err
			return
		}
		defer unix.Close(handle)
		if err := unix.Setns(handle, unix.CLONE_NEWNET); err != nil {
			result <- err
			return
		}
		result <- work()
	}()
	return <-result
}
