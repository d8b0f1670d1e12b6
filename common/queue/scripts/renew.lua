-- Renews leases. A lease that ran out but that nobody took back yet is still its holder's.
-- KEYS: leased, leases. ARGV: lease in ms, then job and token per lease. Returns 1 or 0 for each.
local t = redis.call('TIME')
local expiry = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000) + tonumber(ARGV[1])
local held = {}
for i = 2, #ARGV, 2 do
    local value, token = redis.call('HGET', KEYS[1], ARGV[i]), ARGV[i + 1] .. ' '
    if value and string.sub(value, 1, #token) == token then
        redis.call('ZREM', KEYS[2], ARGV[i]) -- a deletion first: a server that is full must let us renew
        redis.call('ZADD', KEYS[2], expiry, ARGV[i])
        held[i / 2] = 1
    else
        held[i / 2] = 0
    end
end
return held
