-- Who waits, and for how much.
-- KEYS: active:interactive, active:bulk, weights. ARGV: prefix, how many tenants of each class at most.
-- Returns {class, tenant, photos that wait, its share, class …}: of each class those that are served next.
local out = {}
local function add(class, key)
    local tenants = redis.call('ZRANGE', key, 0, tonumber(ARGV[2]) - 1)
    for _, tenant in ipairs(tenants) do
        out[#out + 1] = class
        out[#out + 1] = tenant
        out[#out + 1] = redis.call('LLEN', ARGV[1] .. 'wait:' .. class .. ':' .. tenant)
        out[#out + 1] = redis.call('HGET', KEYS[3], tenant) or '1'
    end
end
add('interactive', KEYS[1])
add('bulk', KEYS[2])
return out
