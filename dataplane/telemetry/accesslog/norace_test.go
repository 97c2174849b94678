//go:build !race

package accesslog

const raceDetector = false
