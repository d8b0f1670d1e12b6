-- Takes leases back without waiting for them to run out, a step of the hash per call: those of one
-- worker, those a claim made whose reply was lost, or all.
-- KEYS: the queue's nine. ARGV: prefix, cursor, worker or "", token prefix or "", first and last sequence
-- under that prefix, losses that make a job dead (0: do not count a loss). The last one matters when this call is a copy that
-- arrives late: what the worker has claimed since is none of its business.
-- Returns {next cursor, moved}.
--! include place.lua
local worker, token_prefix, first, last = ARGV[3], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local limit, now, moved = tonumber(ARGV[7]), clock(), 0

local function is_meant(token)
    if worker ~= '' then return worker_of(token) == worker end
    if token_prefix == '' then return true end
    if string.sub(token, 1, #token_prefix) ~= token_prefix then return false end
    local sequence = tonumber(string.sub(token, #token_prefix + 1)) or -1
    return sequence >= first and sequence <= last
end

local step = call('HSCAN', leased, ARGV[2], 'COUNT', 256)
for i = 1, #step[2], 2 do
    local job, value = step[2][i], step[2][i + 1]
    local token, entry = string.match(value, '^(%S+) (.*)$')
    if token and is_meant(token) then
        call('HDEL', leased, job)
        call('ZREM', leases, job)
        if limit > 0 then lose(value, now, limit) else give_back(entry) end
        moved = moved + 1
    end
end
write_waiting()
write_books()
return {step[1], moved}
