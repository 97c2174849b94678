package telemetry

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// trace is the level of everything more verbose than debug. zapr maps V(n) to level -n: Info is V(0), debug V(1), and
// libraries go up to V(10). From V(8) on client-go writes down whole responses of the API server, Secrets and all, which no
// level may bring into a log.
const trace = zapcore.Level(-6)

// levels are the names that users give, from the most verbose on.
var levels = []struct {
	name string
	zap  zapcore.Level
}{
	{"trace", trace},
	{"debug", zapcore.DebugLevel},
	{"info", zapcore.InfoLevel},
	{"warn", zapcore.WarnLevel},
	{"error", zapcore.ErrorLevel},
}

// A Level is what the process log shows. It may be changed while the program runs, from any goroutine.
type Level struct{ zap zap.AtomicLevel }

// NewLevel returns a Level that is info.
func NewLevel() *Level { return &Level{zap.NewAtomicLevelAt(zapcore.InfoLevel)} }

// Get returns the level's name.
func (l *Level) Get() string {
	at := l.zap.Level()
	for _, level := range levels {
		if at <= level.zap {
			return level.name
		}
	}
	return "error"
}

// Set changes the level, to one of trace, debug, info, warn and error.
func (l *Level) Set(name string) error {
	for _, level := range levels {
		if strings.EqualFold(level.name, strings.TrimSpace(name)) {
			l.zap.SetLevel(level.zap)
			return nil
		}
	}
	return unknownLevel(name)
}

func unknownLevel(name string) error {
	return fmt.Errorf("unknown log level %q: must be one of trace, debug, info, warn, error", name)
}

// ParseLevel reads the value of LOG_LEVEL or RUST_LOG and returns the level's name. Of a list like info,x=debug the bare
// level counts, the last one of several; without one it is info.
func ParseLevel(s string) (string, error) {
	found := "info"
	for item := range strings.SplitSeq(s, ",") {
		item = strings.TrimSpace(item)
		if item == "" || strings.Contains(item, "=") {
			continue
		}
		l := NewLevel()
		if err := l.Set(item); err != nil {
			return "", err
		}
		found = l.Get()
	}
	return found, nil
}

// LogOptions say how the process log looks.
type LogOptions struct {
	Level   *Level    // nil: info
	Writer  io.Writer // nil: stderr, which nobody who logs waits for
	Console bool      // short lines for a terminal, instead of JSON
	Stacks  bool      // add a stack to errors
	Lost    *Counter  // counts the lines that stderr did not take; nil: nobody asks
}

// NewLogger returns the process log. Warn writes its warnings, which logr has no word for.
func NewLogger(o LogOptions) (logr.Logger, error) {
	if o.Level == nil {
		o.Level = NewLevel()
	}
	config := zapcore.EncoderConfig{
		TimeKey: "ts", LevelKey: "level", NameKey: "logger", MessageKey: "msg", StacktraceKey: "stack",
		LineEnding:     zapcore.DefaultLineEnding,
		EncodeTime:     encodeTime,
		EncodeLevel:    encodeLevel,
		EncodeDuration: zapcore.StringDurationEncoder,
		EncodeName:     zapcore.FullNameEncoder,
	}
	encoder := zapcore.NewJSONEncoder(config)
	if o.Console {
		config.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		encoder = zapcore.NewConsoleEncoder(config)
	}
	if o.Writer == nil {
		stderr, err := Duplicate(os.Stderr) // a log whose reader is gone must not end the proxy
		if err != nil {
			return logr.Discard(), fmt.Errorf("stderr: %w", err)
		}
		o.Writer = newLogQueue(stderr, o.Lost, encoder)
	}
	var options []zap.Option
	if o.Stacks {
		options = append(options, zap.AddStacktrace(zapcore.ErrorLevel))
	}
	core := zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(o.Writer)), o.Level.zap)
	return zapr.NewLoggerWithOptions(zap.New(core, options...), zapr.LogInfoLevel("")), nil
}

// Flush waits until what was logged is written, for no longer than a second: a process that is about to end has somebody to
// tell why.
func Flush(log logr.Logger) {
	if under, ok := log.GetSink().(zapr.Underlier); ok {
		_ = under.GetUnderlying().Sync() // of a pipe or a terminal it is an error
	}
}

// Warn logs a warning: something that the reader should change, and that the program can live with.
func Warn(log logr.Logger, message string, keysAndValues ...any) {
	under, ok := log.GetSink().(zapr.Underlier)
	if !ok {
		log.Info(message, keysAndValues...)
		return
	}
	under.GetUnderlying().Sugar().Warnw(message, keysAndValues...)
}

func encodeTime(t time.Time, to zapcore.PrimitiveArrayEncoder) {
	to.AppendString(t.UTC().Format("2006-01-02T15:04:05.000Z"))
}

func encodeLevel(l zapcore.Level, to zapcore.PrimitiveArrayEncoder) {
	if l < zapcore.DebugLevel {
		to.AppendString("trace")
		return
	}
	to.AppendString(l.String())
}
