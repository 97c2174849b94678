package store

import (
	"errors"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// script is GCRA (see package ratelimit) on one key, in microseconds. A key lives for as long as it says anything. Doubles hold
// times of this century to a quarter of a microsecond; 2^51 of them are 71 years.
const script = `
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local interval = tonumber(ARGV[2])
local tolerance = math.min(tonumber(ARGV[1]) * interval, 2251799813685248)
local at = tonumber(redis.call('GET', KEYS[1]) or now) or now
at = math.min(math.max(at, now), now + tolerance)
local spare = now + tolerance - at - interval
if spare < 0 then
	return {0, 0, math.ceil(-spare), math.ceil(at - now)}
end
at = at + interval
redis.call('SET', KEYS[1], string.format('%.3f', at), 'PX', math.ceil((at - now) / 1000) + 1)
return {1, math.floor(spare / interval), 0, math.ceil(at - now)}
`

// arguments are those of the script: how many requests at once, and the microseconds between them.
func (c *call) arguments() []any {
	return []any{strconv.Itoa(c.burst), strconv.FormatFloat(float64(c.interval)/float64(time.Microsecond), 'f', 3, 64)}
}

var errAnswer = errors.New("the store of shared limits gave an answer that is none")

// settle takes what the script has returned.
func (c *call) settle(answer *redis.Cmd) {
	list, err := answer.Int64Slice()
	switch {
	case err != nil:
		c.err = err
	case len(list) != 4:
		c.err = errAnswer
	default:
		c.err = nil
		c.allowed, c.remaining = list[0] == 1, int(list[1])
		c.retry, c.reset = micros(list[2]), micros(list[3])
	}
}

func micros(n int64) time.Duration { return time.Duration(n) * time.Microsecond }
