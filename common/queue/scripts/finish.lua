-- Moves a leased job to done and adds its numbers to the album's sums.
-- KEYS: leased, leases, settled, settled:old, album, done, sums, log.
-- ARGV: job, token, index, record ("" for none), then name and number per sum.
-- Returns 1, also when this token finished the job before; 0 when the lease is another's.
local leased, leases, settled, settled_old = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local album, done, sums, log = KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local job, token, record = ARGV[1], ARGV[2], ARGV[4]
--! include settled.lua
local value = redis.call('HGET', leased, job)
if not value or string.sub(value, 1, #token + 1) ~= token .. ' ' then
    return settled_as(token) == 'done' and 1 or 0
end
redis.call('HDEL', leased, job)
redis.call('ZREM', leases, job)
redis.call('HINCRBY', album, 'leased', -1)
-- The bit cannot be set while the job is leased, unless someone edited keys by hand. If it is, the
-- job was counted as done already and leaving `leased` is what balances the books.
if redis.call('SETBIT', done, ARGV[3], 1) == 0 then
    redis.call('HINCRBY', album, 'done', 1)
    -- One by one: reading, adding and writing all sums at once is not faster, and not exact.
    for i = 5, #ARGV, 2 do
        -- pcall: a sum that would overflow stays as it is; the move must not stop half way.
        redis.pcall('HINCRBY', sums, ARGV[i], ARGV[i + 1])
    end
    if record ~= '' then
        redis.call('XADD', log, 'MAXLEN', '~', 100000, '*', 'job', job, 'record', record)
    end
end
settle(token, 'done')
return 1
