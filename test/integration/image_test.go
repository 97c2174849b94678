package integration_test

import (
	"bufio"
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// imageUser is the account of the Dockerfile's USER.
const imageUser = 65532

// imageRootfs assembles the root file system of the image, the way the Dockerfile does.
func imageRootfs(t *testing.T) string {
	t.Helper()
	directory := t.TempDir()
	rootfs := filepath.Join(directory, "rootfs")
	command := exec.Command("make", "-C", filepath.Join("..", ".."), "image-rootfs",
		"ROOTFS="+rootfs, "BINARY="+filepath.Join(directory, "pingora-proxy"))
	// Under `make test` the outer make's flags would reach the inner one.
	command.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "MAKE") || strings.HasPrefix(v, "MFLAGS=")
	})
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("make image-rootfs: %v\n%s", err, out)
	}
	return rootfs
}

// A jail starts programs in the root file system as a container engine would: read-only, in a chroot, without root.
type jail struct {
	rootfs string
	how    string // the shell's words; $1 is the root file system, the rest the program and its arguments
	uid    int    // what the host sees
}

const (
	mountReadOnly = `mount --bind "$1" "$1" && mount -o remount,bind,ro,nosuid,nodev "$1" && root=$1 && shift && `
	asRoot        = `exec unshare --mount --propagation private sh -ec '` + mountReadOnly +
		`exec chroot --userspec=65532:65532 --groups=65532 "$root" "$@"' jail "$@"`
	// Without root a user namespace gives the right to mount; a second one, inside, takes all rights away again.
	asUser = `exec unshare --user --map-root-user --mount sh -ec '` + mountReadOnly +
		`exec unshare --user --map-user=65532 --map-group=65532 --root="$root" "$@"' jail "$@"`
)

func newJail(t *testing.T, rootfs string) jail {
	t.Helper()
	var said []string
	for _, j := range []jail{{rootfs, asRoot, imageUser}, {rootfs, asUser, os.Getuid()}} {
		out, err := exec.Command("sh", "-c", j.how, "sh", rootfs, "/usr/local/bin/pingora-proxy", "--help").CombinedOutput()
		if err == nil {
			return j
		}
		said = append(said, fmt.Sprintf("%v: %s", err, out))
	}
	t.Fatalf("the image cannot be run: this needs root, or user namespaces for everybody, and util-linux' unshare and mount\n"+
		"as root: %s\nin a user namespace: %s", said[0], said[1])
	return jail{}
}

func (j jail) command(ctx context.Context, arguments ...string) *exec.Cmd {
	words := append([]string{"-c", j.how, "sh", j.rootfs, "/usr/local/bin/pingora-proxy"}, arguments...)
	command := exec.CommandContext(ctx, "sh", words...)
	// A container starts with next to no environment.
	command.Env = []string{"PATH=" + os.Getenv("PATH")}
	return command
}

func TestImageHoldsWhatIsNeededAndNoMore(t *testing.T) {
	rootfs := imageRootfs(t)
	var got []string
	err := filepath.WalkDir(rootfs, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(rootfs, path)
		got = append(got, fmt.Sprintf("%s %s", info.Mode(), relative))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"-rw-r--r-- etc/group",
		"-rw-r--r-- etc/nsswitch.conf",
		"-rw-r--r-- etc/passwd",
		"-rw-r--r-- etc/pingora-proxy/config.yaml",
		"-rwxr-xr-x usr/local/bin/pingora-proxy",
	}
	if _, err := os.Stat("/etc/ssl/certs/ca-certificates.crt"); err == nil {
		want = slices.Insert(want, 4, "-rw-r--r-- etc/ssl/certs/ca-certificates.crt")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}

	passwd, err := os.ReadFile(filepath.Join(rootfs, "etc/passwd"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(passwd), fmt.Sprintf("\npingora:x:%d:%d:", imageUser, imageUser)) {
		t.Errorf("etc/passwd has no pingora with id %d:\n%s", imageUser, passwd)
	}

	binary, err := elf.Open(filepath.Join(rootfs, "usr/local/bin/pingora-proxy"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = binary.Close() }()
	for _, program := range binary.Progs {
		if program.Type == elf.PT_INTERP {
			t.Error("the binary wants a dynamic loader, which the image does not have")
		}
	}
}

func TestDockerfileShipsTheSameRootfs(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	_, final, found := strings.Cut(string(text), "\nFROM scratch\n")
	if !found {
		t.Fatal("the final stage is not FROM scratch")
	}
	var got []string
	for line := range strings.Lines(final) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			got = append(got, line)
		}
	}
	want := []string{
		"COPY --from=build /rootfs/ /",
		fmt.Sprintf("USER %d:%d", imageUser, imageUser),
		"EXPOSE 6188 6189",
		`ENTRYPOINT ["/usr/local/bin/pingora-proxy"]`,
		`CMD ["--config", "/etc/pingora-proxy/config.yaml"]`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("final stage (-want +got):\n%s", diff)
	}
	if !regexp.MustCompile(`(?m)^RUN make image-rootfs .*ROOTFS=/rootfs$`).Match(text) {
		t.Error("the build stage does not assemble /rootfs with make image-rootfs")
	}
}

func TestImageValidatesItsConfiguration(t *testing.T) {
	j := newJail(t, imageRootfs(t))
	out, err := j.command(t.Context(), "--validate", "--config", "/etc/pingora-proxy/config.yaml").CombinedOutput()
	if err != nil {
		t.Fatalf("--validate: %v\n%s", err, out)
	}
	for _, service := range []string{"admin-portal", "oauth-service"} {
		if !bytes.Contains(out, []byte(service)) {
			t.Errorf("--validate does not mention %s:\n%s", service, out)
		}
	}
}

func TestImageServes(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "from the origin")
	}))
	defer origin.Close()
	rootfs := imageRootfs(t)
	j := newJail(t, rootfs)

	// The configuration is mounted over the one in the image; here it is put in its place before the root turns read-only.
	config := fmt.Sprintf(`admin: {bind_address: 'off'}
metrics: {bind_address: 'off'}
services:
  - name: image
    bind_address: '127.0.0.1:0'
    upstreams: ['%s']
`, origin.Listener.Addr())
	if err := os.WriteFile(filepath.Join(rootfs, "etc/pingora-proxy/config.yaml"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	// The Dockerfile's CMD.
	command := j.command(ctx, "--config", "/etc/pingora-proxy/config.yaml")
	stderr, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	logged, address := imageAddress(stderr)
	if address == "" {
		cancel()
		t.Fatalf("the proxy ended without logging the address it listens on: %v\n%s", command.Wait(), logged)
	}
	rest := make(chan string, 1)
	go func() {
		text, err := io.ReadAll(stderr)
		rest <- fmt.Sprint(string(text), err)
	}()

	checkJailed(t, command.Process.Pid, j.uid)

	response, err := http.Get("http://" + address + "/") //nolint:noctx // the process is under a context
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if closing := response.Body.Close(); err != nil || closing != nil {
		t.Fatal(err, closing)
	}
	if response.StatusCode != http.StatusOK || string(body) != "from the origin" {
		t.Errorf("GET / through the image: %d %q", response.StatusCode, body)
	}

	if err := command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	logged += <-rest
	if err := command.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v\n%s", err, logged)
	}
}

// imageAddress reads the log until it says where the service listens, and returns what it read.
func imageAddress(log io.Reader) (logged, address string) {
	listens := regexp.MustCompile(`"msg":"listening",.*"bound":"([^"]+)"`)
	for lines := bufio.NewReader(log); ; {
		line, err := lines.ReadString('\n')
		logged += line
		if m := listens.FindStringSubmatch(line); m != nil {
			return logged, m[1]
		}
		if err != nil {
			return logged, ""
		}
	}
}

// checkJailed reads from the outside what a process may do: no root, no capability, nothing to write to.
func checkJailed(t *testing.T, pid, uid int) {
	t.Helper()
	process := filepath.Join("/proc", strconv.Itoa(pid))
	status, err := os.ReadFile(filepath.Join(process, "status"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		fmt.Sprintf("Uid:\t%[1]d\t%[1]d\t%[1]d\t%[1]d\n", uid),
		"CapEff:\t0000000000000000\n",
		"CapPrm:\t0000000000000000\n",
	} {
		if !strings.Contains(string(status), "\n"+want) {
			t.Errorf("the process is not unprivileged: no line %q in its status:\n%s", want, status)
		}
	}
	mounts, err := os.ReadFile(filepath.Join(process, "mountinfo"))
	if err != nil {
		t.Fatal(err)
	}
	// Only what the process can reach is listed: its root, and nothing above or beside it.
	lines := strings.Split(strings.TrimSpace(string(mounts)), "\n")
	fields := strings.Fields(lines[0])
	if len(lines) != 1 || len(fields) < 6 || fields[4] != "/" || !strings.HasPrefix(fields[5], "ro,") {
		t.Errorf("the process sees more than one read-only root:\n%s", mounts)
	}
}
